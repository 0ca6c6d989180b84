"""Launchers, one file each: they have the units of a sweep trained on this machine, a SLURM cluster, or Ray.

A *unit* is some jobs of one group, described by a file. The command that trains it takes the file's path, trains the
jobs in their directories, and goes on from their checkpoints when it is started again. It ends with 0 when all jobs are
done, 1 when one failed, 2 when the input was wrong, 129, 130 or 143 when a signal stopped it and the jobs are saved.
Any other exit code means that it was killed or crashed: it is started again.
"""
