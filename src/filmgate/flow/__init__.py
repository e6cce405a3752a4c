"""Optical flow: how every pixel moves from one frame to the next, and where films are cut."""
