"""Traces of a service, off by default: where the time of a request and of its job goes."""
