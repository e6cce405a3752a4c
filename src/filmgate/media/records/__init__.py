"""Records: what is known of frames, in files of several formats, and boxes read from files."""
