"""Files to frames and back, on tiny films of every awkward kind."""
