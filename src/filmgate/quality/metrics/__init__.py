"""Measurements of one video or of two."""
