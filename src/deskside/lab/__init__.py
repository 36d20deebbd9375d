"""The lab: racks of virtual hosts on one machine, and the recipes that build what they need."""

DEFAULT_RACK = "demo"
