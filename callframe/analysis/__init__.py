"""Measures: frame in, frame out. None of them knows of HTTP or of pictures."""
