"""Copy audio, subtitles and other streams to the output."""
