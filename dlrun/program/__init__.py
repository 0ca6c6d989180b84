"""The compiled part: the state of training, the pure step over it, and what is prepared before anything is compiled.

Nothing here writes a file of a run or waits for a person. Start with :mod:`~dlrun.program.step`; a plan with data and
devices is a :class:`~dlrun.program.setup.Setup`, and what runs of one program share is in
:mod:`~dlrun.program.compiled`.
"""
