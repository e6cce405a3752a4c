"""The rules of the house, tested."""
