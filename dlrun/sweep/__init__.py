"""Many runs from one command: which they are, which share a compilation, where they train.

The way of a sweep: ``jobs`` makes its jobs and groups those that share a program, ``folder`` knows those that are there
already, ``trainer`` has the others trained, by ``train_unit`` in this process or, through one of the ``launchers``, in
others; ``command`` is all of it in order. ``status`` is what a person sees, ``estimate`` what ``--dry-run`` tells.
``search`` chooses its jobs as it goes; ``by_hydra`` is for Hydra's other sweepers and launchers. How one run is
trained is not decided here.
"""
