"""Optimizers and learning-rate schedules, each documented by its formula and source; and loss scaling for float16.

All are pure functions of arrays and numbers; the training step calls them. Start with :mod:`~dlrun.optim.optimizers`.
"""
