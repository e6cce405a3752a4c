"""Wrappers around stages and functions: cached, tiled, check_outputs."""
