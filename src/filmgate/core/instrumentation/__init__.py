"""Memory, time and faults of a run, as measured."""
