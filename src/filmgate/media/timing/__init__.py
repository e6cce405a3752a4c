"""When frames are shown: by timestamps, evenly, or by counting."""
