"""The streaming engine: frames, stages, chains and the run loop.

Knows no file format, model, GPU or process.
"""
