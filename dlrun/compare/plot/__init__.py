"""Pictures of groups as files: curves with bands, and the final metric against a number that was swept.

Runs of different data sets never share a panel. Start with :mod:`~dlrun.compare.plot.curves` or
:mod:`~dlrun.compare.plot.against`; what both have in common is in :mod:`~dlrun.compare.plot.panels`. Pictures of a
single run are in :mod:`dlrun.display.figures`.
"""
