"""The command line: one file per subcommand, and what they share.

A command reads its words, calls the folder that does the work, and prints. Heavy modules are imported only when they
are needed. Start with :mod:`~dlrun.cli.main`.
"""
