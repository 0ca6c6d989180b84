"""What run directories say about each other: groups, tables, differences with error bars, verdicts.

Nothing here knows how runs are made: it reads what :mod:`dlrun.runs` found, and imports no JAX. Start with
:mod:`~dlrun.compare.view`; the statistics are in :mod:`~dlrun.compare.statistics`.
"""

from dlrun.runs.loading import load

__all__ = ["load"]
