"""Turns the words of a command into a checked plan.

In order: ``composition`` has Hydra (``hydra_adapter``) make one configuration of the files in conf/ and the words,
``components`` finds the classes and functions that its names stand for, ``schema`` and ``settings`` know which values
are allowed, ``plan`` checks all of them at once. A configuration holds values, never objects; what depends on data or
devices is checked elsewhere. ``catalogue`` reads conf/ without Hydra, for help and completion.

Start with :mod:`~dlrun.config.plan`; :mod:`~dlrun.config.schema` says why a signature is a schema.
"""
