"""Tests on racks of real hosts."""
