"""Add-ons: one constant in one file each. Data and generators; no engine, no SSH."""
