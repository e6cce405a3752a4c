"""Weights and where they sit."""
