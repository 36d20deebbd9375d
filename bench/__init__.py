"""Measurements that can be repeated; see README.md. No part of the package."""

import os

# Every program may keep its modules compiled, as on a person's machine: peers come compiled by pip.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
