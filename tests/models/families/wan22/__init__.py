"""Tests of `filmgate.models.families.wan22`."""
