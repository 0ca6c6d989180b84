"""What the machine, Python and the user's account are like: folders, versions, memory, which JAX computes correctly.

Nothing here knows of runs or configurations. Start with :mod:`~dlrun.system.isolation`, which is imported before
everything else.
"""
