"""The command line, a guest of the library: flags are made from the dataclasses of tasks, files."""
