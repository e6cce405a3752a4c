"""Tests of `media/images/`."""
