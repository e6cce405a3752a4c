"""Files to frames and back: the only place that opens a video."""
