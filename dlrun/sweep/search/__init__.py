"""Searches: what may be chosen, what is tried next, which trials are given up, and the best of them as a file.

Only ``study`` knows Optuna. :mod:`dlrun.sweep.trainer` trains the trials. Start with
:mod:`~dlrun.sweep.search.command`.
"""
