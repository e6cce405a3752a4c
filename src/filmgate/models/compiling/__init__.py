"""Networks compiled ahead of time for fixed shapes, kept as packages between runs."""
