"""Tests of the repository itself: its imports, sizes, docs and language."""
