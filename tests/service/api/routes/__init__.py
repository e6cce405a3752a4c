"""Tests of the addresses of the API."""
