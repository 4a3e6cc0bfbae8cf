"""Vectors → codes. Knows arrays only: no text, no file, no model."""
