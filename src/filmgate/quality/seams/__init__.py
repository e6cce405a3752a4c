"""Find seams: jumps where one batch of frames ends and the next starts."""
