"""Tests of `filmgate.media.audio`."""
