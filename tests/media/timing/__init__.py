"""Tests of media.timing."""
