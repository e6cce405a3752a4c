"""Image files to frames and back."""
