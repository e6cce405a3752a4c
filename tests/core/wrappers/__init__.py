"""Tests of `core/wrappers/`."""
