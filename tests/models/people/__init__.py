"""Tests of people and faces."""
