"""Tests of `planning/`."""
