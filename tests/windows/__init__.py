"""The suite with Python for Windows, run by Wine on Linux."""
