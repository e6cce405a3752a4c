"""Model weights: definitions, the store on disk, downloads, state dicts."""
