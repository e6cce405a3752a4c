"""Weights and results that lie on this machine: fetched, kept, placed."""
