"""The jobs of a sweep: which ones a command makes, each composed and checked, in groups that share a program.

Nothing here trains, or writes files. Start with :mod:`~dlrun.sweep.jobs.space`.
"""
