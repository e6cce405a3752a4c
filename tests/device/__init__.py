"""Weights and where they sit, tested."""
