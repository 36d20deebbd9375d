"""Steps: named recipes with edges by name, one module for each matter; `catalog.py` finds them by looking."""
