"""Measures of two videos, or of one against itself."""
