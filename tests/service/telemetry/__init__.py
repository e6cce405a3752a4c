"""Traces: in memory, to a collector, and from a real worker."""
