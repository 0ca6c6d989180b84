"""The statuses of a run: what each word means, and which of them count as ended, as saved, as gone wrong.

A run writes its status into run.json. ``killed``, ``damaged`` and ``pending`` are written by no run: they are what a
reader makes of the files it finds.

=============  ========================================================================================================
``running``    a process trains it
``completed``  all steps were taken, or it stopped early, and the best state was tested
``stopped``    a signal came; the state was saved
``pruned``     a search gave it up; the state was saved
``diverged``   a number was not finite
``failed``     it ended with an error
``killed``     run.json says ``running``, but no process works in the directory
``damaged``    run.json can't be read
``pending``    a job of a sweep that has not begun
=============  ========================================================================================================
"""

from pathlib import Path

from dlrun.runs.lock import in_use

OVER = ("completed", "pruned", "diverged")
"""Another try would come to the same: a sweep leaves such runs as they are."""
SAVED = ("completed", "stopped", "pruned")
"""A run comes to these with a state saved."""
FAILED = ("failed", "diverged")
"""A run comes to these by itself, without a result."""
LOST = (*FAILED, "killed")
"""Ended without a result, in whatever way: a sweep that has such a job failed."""
WENT_WRONG = (*LOST, "damaged")
"""The end of log.txt may say why."""
REPEATABLE = ("failed", "stopped")
"""A job that goes on may come to these once more."""
WORST_FIRST = ("failed", "diverged", "killed", "stopped", "pending", "running", "completed", "pruned")


def now(written: str, directory: Path) -> str:
    """The status of a run whose run.json says ``written``: of a run whose process is gone, ``killed``."""
    return "killed" if written == "running" and not in_use(directory) else written
