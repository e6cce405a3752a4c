"""The tasks, each by its own promises."""
