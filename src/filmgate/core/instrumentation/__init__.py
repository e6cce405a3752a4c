"""Memory, time and injected faults of a run."""
