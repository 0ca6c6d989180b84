"""Compares runs: groups, tables, differences with error bars, verdicts.

Nothing here knows how runs are made: it uses what :mod:`dlrun.runs` reads, and imports no JAX. Start with
:mod:`~dlrun.compare.view`; the statistics are in :mod:`~dlrun.compare.statistics`.
"""

from dlrun.runs.loading import load

__all__ = ["load"]
