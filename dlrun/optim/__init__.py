"""Optimizers and schedules of the learning rate, each one formula with its source, and the scaling of float16 losses.

They are pure functions of arrays and numbers; the step calls them. Start with :mod:`~dlrun.optim.optimizers`.
"""
