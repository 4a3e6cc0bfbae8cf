"""The command line: one file a command, each parses, calls and renders.

The only folder that imports typer and rich, and the only one that prints. Results go to stdout,
progress and remarks to stderr. What is slow to import is imported inside the commands.
"""
