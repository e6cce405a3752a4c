"""Tests of `models/families/hmr2/`."""
