"""Frames to video files."""
