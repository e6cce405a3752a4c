"""Tests of the family `insightface`."""
