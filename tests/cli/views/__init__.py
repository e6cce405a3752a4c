"""Tests of `cli/views/`."""
