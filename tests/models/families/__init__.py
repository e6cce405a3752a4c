"""Tests of `models/families/`."""
