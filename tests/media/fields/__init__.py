"""Tests of media.fields."""
