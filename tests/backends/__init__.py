"""Backends: the same video wherever it is made."""
