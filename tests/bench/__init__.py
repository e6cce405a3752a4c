"""Tests of what is measured and published."""
