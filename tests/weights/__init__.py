"""Tests of `weights/`."""
