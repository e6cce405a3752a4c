"""Tests of the family `latentsync`."""
