"""Tests of `quality/report/`."""
