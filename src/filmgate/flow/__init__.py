"""Optical flow: estimators, warping, shot boundaries and temporal blending."""
