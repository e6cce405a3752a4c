"""Many jobs, and one that must survive: what is kept on disk, and who is at it."""
