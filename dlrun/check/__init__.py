"""Inspects models: where numbers stop being finite, the layers and their costs, plots of activations and schedules.

Nothing here changes a run. Start with :mod:`~dlrun.check.calls`.
"""
