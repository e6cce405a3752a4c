"""Streams: frames, stages, chains and the loop. Knows no file format, model, GPU or process."""
