"""Runs that survive their process: what is on disk, and which process works on it."""
