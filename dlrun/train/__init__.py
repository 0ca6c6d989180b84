"""Trains a run: the loop, what it writes into the run directory, how a run ends, and how it is resumed.

:mod:`dlrun.program` decides what a step computes; :mod:`dlrun.sweep` and :mod:`dlrun.cli` decide which runs there are.
Start with :mod:`~dlrun.train.run`, then :mod:`~dlrun.train.loop`.
"""
