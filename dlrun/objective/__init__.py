"""What a model is trained for and measured by: losses, and the metrics of each kind of task.

Pure functions of outputs and targets; nothing here knows a model or an optimizer. Start with
:mod:`~dlrun.objective.losses`.
"""
