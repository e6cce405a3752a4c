"""Tests of `models/compiling/`."""
