"""Outputs of complete runs, compared with recorded hashes: a refactoring must change none."""
