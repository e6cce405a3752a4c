"""Tests of `quality/metrics/`."""
