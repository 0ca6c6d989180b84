"""The losses that models are trained with, and the metrics that they are evaluated by, for each kind of task.

All are pure functions of outputs and targets; nothing here knows a model or an optimizer. Start with
:mod:`~dlrun.objective.losses`.
"""
