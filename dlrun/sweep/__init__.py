"""Trains many runs from one command: decides which runs these are, which share a compilation, and where they train.

The words of this folder:

- *job*: a run of the sweep, with a number from 0. *Trial*: a choice of a search; a job, or one for each of its seeds.
- *group*: jobs that differ only in what the compiled program does not depend on (numbers in the state, seed, length,
  records). They share a compilation and the data on the device.
- *stack*: jobs of a group that are trained together: their states are arrays with an axis for the jobs.
- *unit*: jobs of a group that are handed to a worker process, described by a file.

Start reading with ``grid``, which goes through a sweep in order: ``jobs`` makes its jobs and groups them, ``folder``
knows those that are in its directory already, and ``trainer`` has the others trained, by ``train_jobs`` in this process
or, through one of the ``launchers``, by ``worker`` in others. ``following`` sees how far these are. ``run_sweep`` is
what happens around that: launcher, directory, lock, signals and the table at the end. ``display`` is what a person
sees, ``estimate`` what ``--dry-run`` prints. ``tuning`` is a search: with ``search`` it chooses its jobs by the results
of earlier ones. ``by_hydra`` is for users who chose another sweeper or launcher of Hydra's. How a single run is trained
is decided in :mod:`dlrun.train`.
"""
