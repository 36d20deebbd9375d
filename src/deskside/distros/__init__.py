"""Kubernetes distributions: one file per plug-in, one constant in it."""
