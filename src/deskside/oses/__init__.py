"""Linux distributions, one constant in one file each: data that `catalog.py` finds by looking."""
