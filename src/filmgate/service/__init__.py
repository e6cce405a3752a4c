"""A service that runs jobs for clients over HTTP."""
