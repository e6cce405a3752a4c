"""Tests of `media/pixels/`."""
