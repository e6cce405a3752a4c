"""Jobs that are killed, moved, disturbed, and go on."""
