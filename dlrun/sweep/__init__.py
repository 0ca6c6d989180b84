"""Many runs from one command: which they are, which share a compilation, where they train.

The words of this folder:

- *job*: a run of the sweep, with a number from 0. *Trial*: a job of a search, or one for each of several seeds.
- *group*: jobs that differ only in what the compiled program does not depend on (numbers in the state, seed, length,
  records). They share a compilation and the data on the device.
- *stack*: jobs of a group that are trained together, in one array with an axis for the jobs.
- *unit*: jobs of a group that are handed to another process, described by a file.

The way of a sweep: ``jobs`` makes its jobs and groups them, ``folder`` knows those that are in its directory already,
``trainer`` has the others trained, by ``train_unit`` in this process or, through one of the ``launchers``, in others.
``grid`` is all of that in order, within what ``conduct`` does around it; start reading there. ``status`` is what a
person sees, ``estimate`` what ``--dry-run`` tells. ``tuning`` is a search: with ``search`` it chooses its jobs by what
came of earlier ones. ``by_hydra`` is for users who chose another sweeper or launcher of Hydra's. How one run is
trained is not decided here.
"""
