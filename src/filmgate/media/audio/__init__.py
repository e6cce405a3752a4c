"""Audio: tempo and sync."""
