"""What is due where a run stands: pure functions of its position and its settings."""

import math
from dataclasses import dataclass
from typing import Any

from dlrun.config.settings import in_steps
from dlrun.program.setup import Setup
from dlrun.train.position import Position


def next_multiple(step: int, n: int) -> int:
    """The next multiple of ``n`` after ``step``."""
    return (step // n + 1) * n


@dataclass(frozen=True)
class Timetable:
    """When a run is logged, evaluated, saved and ended, in optimizer steps.

    Args:
      total: steps of the whole run.
      per_epoch: steps of an epoch.
      log, evaluate, save: steps from one time to the next.
      patience: evaluations in a row without an improvement after which the run ends.
    """

    total: int
    per_epoch: int
    log: int
    evaluate: int
    save: int
    patience: float

    @classmethod
    def of(cls, setup: Setup) -> "Timetable":
        """That of a run, as its settings say."""
        settings, per_epoch = setup.plan.settings, setup.steps_per_epoch
        return cls(
            total=setup.total_steps,
            per_epoch=per_epoch,
            log=settings.log.every,
            evaluate=in_steps(settings.eval.every, per_epoch),
            save=in_steps(settings.checkpoint.every, per_epoch) if settings.checkpoint.every else setup.total_steps,
            patience=settings.early_stop.patience or math.inf,
        )

    def evaluates(self, at: Position) -> bool:
        """Whether an evaluation is due: at its times and at the end, unless there was one already."""
        return at.evaluated < at.step and (at.step % self.evaluate == 0 or self.is_complete(at)) and at.step > 0

    def evaluations(self, at: Position) -> int:
        """How many evaluations there were by their times, the one that is due included."""
        return at.step // self.evaluate

    def saves(self, at: Position) -> bool:
        """Whether a state is to be kept of this step, whatever becomes of others."""
        return at.step % self.save == 0 and at.step > 0

    def logs(self, at: Position) -> bool:
        """Whether the training metrics of the steps before this one make a whole row."""
        return at.step % self.log == 0

    def is_complete(self, at: Position) -> bool:
        """Whether all steps are taken."""
        return at.step >= self.total

    def is_done(self, at: Position) -> bool:
        """Whether all steps are taken, or the patience is at its end."""
        return self.is_complete(at) or at.stale >= self.patience

    def next_event(self, at: Position) -> int:
        """The step up to which the run can be trained without a stop: not beyond the epoch."""
        return min(
            self.total, *(next_multiple(at.step, n) for n in (self.log, self.evaluate, self.save, self.per_epoch))
        )

    def leaves(self, row: dict[str, Any], last: int) -> bool:
        """Whether a run that goes on from step ``last`` leaves a row as it is: not those that it will write again."""
        closing = row["split"] == "test" or (row["split"] == "train" and row["step"] % self.log)
        return row["step"] <= last and not closing
