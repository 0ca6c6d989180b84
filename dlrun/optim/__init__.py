"""Optimizers and learning-rate schedules, each a formula with its source, and loss scaling for float16.

All are pure functions of arrays and numbers, which the training step calls. Start with :mod:`~dlrun.optim.optimizers`.
"""
