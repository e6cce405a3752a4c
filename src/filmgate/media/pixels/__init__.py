"""Pixel data: planes, formats, colour conversion, size."""
