"""Run directories: the names of their files, how these are written whole, locked, read, found and thinned out.

Nothing here knows how a run is trained: no JAX, no Hydra, and NumPy for checkpoints alone, so that commands that only
read start in a blink. Start with :mod:`~dlrun.runs.rundir` for the files, with :mod:`~dlrun.runs.run` for what they
tell.
"""
