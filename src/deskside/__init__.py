"""Deskside: from bare GPU workstations and a NAS to a shared notebook platform, from one site file."""

__version__ = "0.1.0"
