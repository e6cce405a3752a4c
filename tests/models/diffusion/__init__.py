"""Tests of `models/diffusion/`."""
