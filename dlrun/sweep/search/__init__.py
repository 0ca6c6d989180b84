"""Searches for good values: reads the search space, chooses trials, gives up bad ones, writes the best to a file.

Only ``study`` imports Optuna. Nothing here trains: :mod:`dlrun.sweep.tuning` has the chosen trials trained.
Start with :mod:`~dlrun.sweep.search.search`.
"""
