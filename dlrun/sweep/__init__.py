"""Many runs from one command: which they are, which share a compilation, where they train.

The way of a sweep: ``space`` (with ``composing``) makes its jobs, ``groups`` finds those that share a program,
``folder`` those that are there already, ``trainer`` has the others trained, by ``work`` in this process or, through one
of the ``launchers``, in others; ``sweep`` is all of it in order. ``status`` is what a person sees, ``estimate``
what ``--dry-run`` tells.

A search (``tuning``) chooses its jobs as it goes: ``domain`` is what it may choose from, ``search`` asks and tells,
``study`` is Optuna's part, ``pruning`` gives up bad trials, ``best`` writes what was found. ``foreign`` is for Hydra's
other sweepers and launchers.
"""
