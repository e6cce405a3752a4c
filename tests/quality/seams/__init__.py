"""Tests of `quality/seams/`."""
