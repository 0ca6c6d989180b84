"""Looks into a model: where numbers stop being finite, the layers and their costs, its activations and schedules drawn.

It runs parts of the program on inputs of its own, and never changes a run. Start with :mod:`~dlrun.check.calls`.
"""
