"""Commands for clients of a service."""
