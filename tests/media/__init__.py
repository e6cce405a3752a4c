"""Tests of `media/`: files to frames and back, on small videos of every awkward kind."""
