"""Seams: jumps where batches meet."""
