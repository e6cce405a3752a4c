"""Checks, measurements and comparisons of videos, and reports of them."""
