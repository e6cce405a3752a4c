"""The command line, a guest of the library: flags are made from the dataclasses of tasks, files."""

SUMMARY = "Filmgate runs video AI models over videos of any length, inside a fixed memory budget."
