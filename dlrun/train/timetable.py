"""What is due at a run's position: pure functions of the position and the settings."""

import math
from dataclasses import dataclass

from dlrun.config.settings import in_steps
from dlrun.program.setup import Setup
from dlrun.train.position import Position

ROWS, LONGEST = 50, 50
"""With ``log.every=auto``: so many rows of training metrics a run at least, of so many steps at most."""


def next_multiple(step: int, n: int) -> int:
    """The next multiple of ``n`` after ``step``."""
    return (step // n + 1) * n


@dataclass(frozen=True)
class Timetable:
    """Says when a run is logged, evaluated, saved and ended. All intervals are in optimizer steps.

    Args:
      total: steps of the whole run.
      per_epoch: steps of an epoch.
      log, evaluate, save: the interval of each.
      log_from: rows of training metrics are counted anew each so many steps, where one is due in any case.
      patience: evaluations in a row without an improvement after which the run ends.
    """

    total: int
    per_epoch: int
    log: int
    log_from: int
    evaluate: int
    save: int
    patience: float

    @classmethod
    def of(cls, setup: Setup) -> "Timetable":
        """The timetable that a run's settings ask for."""
        settings, per_epoch = setup.plan.settings, setup.steps_per_epoch
        evaluate = in_steps(settings.eval.every, per_epoch)
        every = settings.log.every
        log, log_from = (evenly(setup.total_steps, evaluate), evaluate) if every == "auto" else (every, every)
        return cls(
            total=setup.total_steps,
            per_epoch=per_epoch,
            log=log,
            log_from=log_from,
            evaluate=evaluate,
            save=in_steps(settings.checkpoint.every, per_epoch) if settings.checkpoint.every else setup.total_steps,
            patience=settings.early_stop.patience or math.inf,
        )

    def evaluates(self, at: Position) -> bool:
        """Whether an evaluation is due: at each interval and at the end, unless this step was evaluated already."""
        return at.evaluated < at.step and (at.step % self.evaluate == 0 or self.is_complete(at)) and at.step > 0

    def evaluations(self, at: Position) -> int:
        """How many evaluations were due at intervals so far, the one at this step included."""
        return at.step // self.evaluate

    def saves(self, at: Position) -> bool:
        """Whether ``checkpoint.every`` asks for a save at this step."""
        return at.step % self.save == 0 and at.step > 0

    def logs(self, at: Position) -> bool:
        """Whether a row of training metrics ends at this step."""
        return at.step % self.log_from % self.log == 0

    def is_complete(self, at: Position) -> bool:
        """Whether all steps are taken."""
        return at.step >= self.total

    def is_done(self, at: Position) -> bool:
        """Whether all steps are taken, or early stopping has run out of patience."""
        return self.is_complete(at) or at.stale >= self.patience

    def next_event(self, at: Position) -> int:
        """The next step at which something may be due; at most the epoch's end, where the rows are shuffled anew."""
        since = at.step % self.log_from
        return min(
            self.total,
            at.step - since + next_multiple(since, self.log),
            *(next_multiple(at.step, n) for n in (self.log_from, self.evaluate, self.save, self.per_epoch)),
        )


def evenly(total: int, evaluate: int) -> int:
    """Steps a row of training metrics for ``log.every=auto``, counted from each evaluation, where one is due as well.

    As many rows of about the same length between two evaluations as it takes for :data:`ROWS` in the run, each of
    :data:`LONGEST` steps at most.
    """
    most, span = min(LONGEST, max(1, total // ROWS)), min(evaluate, total)
    return math.ceil(span / math.ceil(span / most))
