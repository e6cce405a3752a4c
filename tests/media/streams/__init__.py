"""Tests of `media/streams/`."""
