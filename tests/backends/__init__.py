"""Backends: the same film wherever it is made."""
