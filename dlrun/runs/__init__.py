"""Run directories: names of their files, and how these are written, locked, found, read and deleted.

Nothing here knows how a run is trained: no JAX and no Hydra; only checkpoints need NumPy. So commands that read runs
start quickly. Whatever opens a file of a run, sweep or search does so by :mod:`~dlrun.runs.files`. Start with
:mod:`~dlrun.runs.rundir` for the files, and with :mod:`~dlrun.runs.run` for their contents.
"""
