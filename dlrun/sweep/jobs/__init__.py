"""The jobs of a sweep: overrides as points of a space, composed, checked, and grouped by the program they share.

Nothing here trains or writes. Start with :mod:`~dlrun.sweep.jobs.space`.
"""
