"""Tests of flow/."""
