"""The queue of a service's jobs: rows of one SQLite database that only its process writes."""
