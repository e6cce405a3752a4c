"""Tests of `filmgate.device`."""
