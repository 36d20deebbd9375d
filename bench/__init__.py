"""Measurements that can be repeated; see README.md. No part of the package."""
