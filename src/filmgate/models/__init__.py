"""Models: contracts, the registry, and the families."""
