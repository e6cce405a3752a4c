"""Open containers safely and check them for damage."""
