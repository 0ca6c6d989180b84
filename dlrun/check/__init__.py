"""Looks into a model: where numbers stop being finite, the layers and their costs, its activations and schedules drawn.

It runs parts of the program on purpose-made inputs, and changes no run. Start with :mod:`~dlrun.check.calls`.
"""
