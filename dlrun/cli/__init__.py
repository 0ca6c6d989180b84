"""The command line: a file for each subcommand, and what they have in common.

A command reads its words, calls the room that does the work, and prints; what it imports, it imports when it is needed.
Start with :mod:`~dlrun.cli.main`.
"""
