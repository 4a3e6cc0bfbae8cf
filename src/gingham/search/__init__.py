"""Vectors → candidates → scores → ranking → explanation. Never writes, never encodes."""
