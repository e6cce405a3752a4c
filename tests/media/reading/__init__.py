"""Tests of `media/reading/`."""
