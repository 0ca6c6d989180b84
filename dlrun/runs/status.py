"""The statuses of a run: what each word means, and which of them count as ended, as saved, as gone wrong.

A run writes its status into run.json. No run writes ``killed``, ``damaged`` or ``pending``:
whoever reads the files concludes these.

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
"""Another try would end in the same way, so a sweep leaves such runs as they are."""
SAVED = ("completed", "stopped", "pruned")
"""A run that ends like this has saved its state."""
FAILED = ("failed", "diverged")
"""The run itself came to an end without a result."""
LOST = (*FAILED, "killed")
"""The run ended without a result, by itself or not: a sweep with such a job has failed."""
WENT_WRONG = (*LOST, "damaged")
"""Something went wrong, and the end of log.txt may say what."""
REPEATABLE = ("failed", "stopped")
"""A job that is resumed may end like this once more."""
WORST_FIRST = ("failed", "diverged", "killed", "stopped", "pending", "running", "completed", "pruned")
"""The order in which a sweep lists its jobs."""


def now(written: str, directory: Path) -> str:
    """The present status of a run whose run.json says ``written``: ``killed`` if its process is gone."""
    return "killed" if written == "running" and not in_use(directory) else written
