"""Tests of what lies on this machine."""
