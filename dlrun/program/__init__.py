"""What a run computes: the training state, the pure functions of a step, and all that is prepared to compile them.

Nothing here writes into a run directory. Start with :mod:`~dlrun.program.step`, which has the functions that are
compiled. :func:`dlrun.program.setup.prepare` turns a plan into a :class:`~dlrun.program.setup.Setup`, with data and
devices; :class:`dlrun.program.compiled.CompiledProgram` compiles it for all runs that share it.
"""
