"""Tests of `models/families/phalp/`."""
