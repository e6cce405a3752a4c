"""Tests of the queue: its database, leases, files, and what a failing disk does to it."""
