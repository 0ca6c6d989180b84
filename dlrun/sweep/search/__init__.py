"""Searches: what may be chosen, what is tried next, which trials are given up, and the best of them as a file.

Only ``study`` knows Optuna. Nothing here trains: :mod:`dlrun.sweep.tuning` has the trials trained that are chosen here.
Start with :mod:`~dlrun.sweep.search.search`.
"""
