"""The outputs of whole runs, compared with recorded ones: a refactoring must change none."""
