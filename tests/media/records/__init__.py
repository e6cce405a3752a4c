"""Tests of `media/records/`."""
