"""Audio, subtitles and other streams that are copied."""
