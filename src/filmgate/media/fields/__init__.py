"""Interlaced video: who says so, how to see it, and what is made of it."""
