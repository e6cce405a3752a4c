"""Tests of `media/containers/`."""
