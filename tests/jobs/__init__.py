"""Tests of `jobs/`: runs that are killed, damaged and disturbed, and resume."""
