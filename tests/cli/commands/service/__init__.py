"""Tests of the commands for clients of a service."""
