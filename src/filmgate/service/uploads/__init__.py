"""Files that clients upload: stored, checked and removed."""
