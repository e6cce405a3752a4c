"""Containers: opened safely, checked for damage."""
