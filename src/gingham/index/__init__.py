"""Codes → segment → commit. The only folder that touches sqlite3, mmap, fsync and rename."""
