"""Directories: one constant in one file each. They render the hub's log-in and look; they change nothing."""
