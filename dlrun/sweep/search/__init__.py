"""Searches: what may be chosen, what is tried next, which trials are given up, and the best of them as a file.

Optuna is known to ``study`` alone; how trials are trained is for :mod:`dlrun.sweep.trainer`. Start with
:mod:`~dlrun.sweep.search.command`.
"""
