"""Stages around a stage: cached, tiled, checked."""
