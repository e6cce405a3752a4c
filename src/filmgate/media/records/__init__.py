"""Records: what is known of frames, one JSON object on each line."""
