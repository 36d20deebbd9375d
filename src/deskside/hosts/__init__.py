"""Hosts: asked and changed over SSH, or modelled by a fake. Importing this loads no SSH library."""
