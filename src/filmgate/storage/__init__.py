"""Files on disk: atomic writes, locks, fingerprints, cached results."""
