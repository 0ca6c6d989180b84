"""Losses, which a model is trained by, and the metrics of each kind of task, which it is measured by.

All are pure functions of outputs and targets; nothing here knows a model or an optimizer. Start with
:mod:`~dlrun.objective.losses`.
"""
