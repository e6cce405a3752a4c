"""Tests of `core/instrumentation/`."""
