"""What the machine, Python and the user's account give: folders, versions, memory, which JAX computes right numbers.

Nothing here knows of runs or configurations. Start with :mod:`~dlrun.system.isolation`, which is imported before all
else.
"""
