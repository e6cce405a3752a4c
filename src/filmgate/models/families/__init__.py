"""The model families; this folder is the registry."""
