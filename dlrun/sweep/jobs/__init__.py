"""Makes the jobs of a sweep from its command: composes and checks each, and groups those that share a program.

Nothing here trains, or writes files. Start with :mod:`~dlrun.sweep.jobs.space`.
"""
