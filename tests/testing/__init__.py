"""Tests of `testing/`."""
