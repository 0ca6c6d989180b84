"""The one loop, top to bottom: step, log, evaluate, save, by name."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.config.settings import in_steps
from dlrun.display.progress import Progress
from dlrun.program.setup import Setup
from dlrun.train.keeper import Run
from dlrun.train.position import Position
from dlrun.train.resumption import Resumption
from dlrun.train.signals import Stop
from dlrun.train.single import Member, next_multiple

Result = tuple[Position, dict[str, Any]]
"""Where a run stands at its end, and the test split's results for each class."""


def train(
    setup: Setup,
    directory: Path,
    member: Member,
    *,
    progress: Progress,
    stop: Stop,
    start: Resumption | None = None,
    worth: Callable[[int, float], Callable[[], bool]] | None = None,
) -> Generator[tuple[Position, int], None, Result]:
    """Trains, evaluates and saves until the run is done. Yields where it waits for a stack, see :class:`Member`.

    Args:
      directory: the run directory.
      member: the state on the devices.
      progress: shows a person how far it is.
      stop: tells of signals.
      start: where a resumed run goes on.
      worth: of a search, takes number and metric of an evaluation; what it gives tells whether to go on.

    Raises:
      Stopped: after a signal.
      Pruned: when the run is not worth going on with.
      NonFinite: when a loss, gradient, parameter or statistic is not finite, or in an evaluation an output.
      CheckpointError: when a state could not be saved.
    """
    with Run(setup, directory, member, progress, stop) as run:
        at = run.begin() if start is None else run.restore(start)
        settings, total = setup.plan.settings, setup.total_steps
        evaluate_every = in_steps(settings.eval.every, setup.steps_per_epoch)
        save_every = in_steps(settings.checkpoint.every, setup.steps_per_epoch) if settings.checkpoint.every else total
        patience = settings.early_stop.patience or np.inf
        progress.start(at.step, total)
        while True:
            if at.evaluated < at.step and (at.step % evaluate_every == 0 or at.step == total) and at.step:
                value = run.evaluate(at)
                run.save_if_due(at)
                if worth is not None and at.step < total:
                    promising = worth(at.step // evaluate_every, value)
                    yield from member.together(at)
                    if not promising():
                        run.prune(at)
            if at.step % save_every == 0 and at.step:
                run.save(at)
            if at.step >= total or at.stale >= patience:
                break
            run.stop_if_asked(at)
            until = min(next_multiple(at.step, n) for n in (settings.log.every, evaluate_every, save_every))
            before = at.step
            yield from member.train(at, min(until, total))
            if at.step > before and at.step % settings.log.every == 0:  # a signal may have kept it from a step
                run.log(at)
        if at.step % settings.log.every:
            run.log(at)
        run.save(at)
        run.select(at)
        yield from member.together(at, ending=True)
        return at, run.test(at)
