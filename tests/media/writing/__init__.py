"""Tests of `media/writing/`."""
