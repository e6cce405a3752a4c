"""Tests of `models/families/vitpose/`."""
