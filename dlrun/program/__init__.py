"""The compiled part: the state of training, the pure step over it, and what is prepared before anything is compiled.

Nothing here writes into a run directory. Start with :mod:`~dlrun.program.step`, which has the functions that are
compiled. :func:`dlrun.program.setup.prepare` makes a plan, its data and the devices into a
:class:`~dlrun.program.setup.Setup`; :class:`dlrun.program.compiled.Engine` compiles it for all runs that share it.
"""
