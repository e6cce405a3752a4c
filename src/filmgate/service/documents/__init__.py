"""The JSON that clients send, and what it may hold."""
