"""What a machine with a GPU runs first: `make gpu`, or `python -m tests.gpu`. See docs/gpu.md."""
