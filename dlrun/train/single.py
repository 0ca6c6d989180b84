"""The state of one run on the devices, by itself: what the loop trains, evaluates, saves and restores."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import numpy as np

from dlrun.data.feed import Feed
from dlrun.display.progress import Progress
from dlrun.program import pytree
from dlrun.program.compiled import Engine, Evaluation
from dlrun.program.setup import Setup
from dlrun.program.state import TrainState, kept, with_kept
from dlrun.train.position import Position
from dlrun.train.signals import Stop

DISPATCH_SECONDS = 0.1  # as long as one call to the device may take, where several steps are one call
OVERLAP_SECONDS = 0.02  # calls shorter than this overlap

Waiting = Iterable[tuple[Position, int]]
"""What the loop yields: where the run stands and the step it is to be trained to by who drives it, or where it stands
already when it only waits for the other runs of its stack."""


@dataclass
class Pace:
    """How fast a run is trained in this process, compilation aside.

    Args:
      stack: runs that are trained side by side, itself included.
    """

    stack: int = 1
    steps: int = 0
    run_steps: int = 0
    seconds: float = 0.0

    def add(self, steps: int, seconds: float, runs: int = 1) -> None:
        """So many steps of each of ``runs`` took so long."""
        self.steps, self.run_steps, self.seconds = (
            self.steps + steps,
            self.run_steps + steps * runs,
            self.seconds + seconds,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Fields of run.json: steps a second of the run, and of all that were trained side by side with it."""
        rates = {"steps_per_second": self.steps, "stack_steps_per_second": self.run_steps}
        return {"stack": self.stack} | {
            k: round(n / self.seconds, 3) if self.seconds else None for k, n in rates.items()
        }


class Member(Protocol):
    """The state of one run on the devices, alone or in a stack.

    Args:
      engine: of its group.
      state: of training.
      feed: gives its rows.
      company: how many runs are trained along with it, itself included.
      eval_size: examples that are evaluated at a time.
      pace: how fast it is trained.
    """

    pace: Pace

    @property
    def engine(self) -> Engine: ...

    @property
    def state(self) -> TrainState: ...

    @property
    def feed(self) -> Feed: ...

    @property
    def company(self) -> int: ...

    @property
    def eval_size(self) -> int: ...

    def start(self) -> None:
        """Takes the state before the first step."""

    def place(self, arrays: dict[str, Any]) -> None:
        """Takes saved arrays; numbers stay. Raises :class:`~dlrun.runs.checkpoint.CheckpointError`."""

    def arrays(self) -> dict[str, np.ndarray]:
        """A copy of all that is saved, by path."""
        ...

    def train(self, at: Position, until: int) -> Waiting:
        """Trains up to step ``until``, or to the end of the epoch, or to a signal; moves ``at``."""
        ...

    def together(self, at: Position, *, ending: bool = False) -> Waiting:
        """Waits for the others of a stack, so that what follows is done for all at once.

        Args:
          ending: whether all its steps are taken.
        """
        ...

    def totals(self) -> tuple[dict[str, Any], float | None]:
        """Training metrics since :meth:`reset`, and the loss scale."""
        ...

    def reset(self) -> None:
        """Training metrics begin anew."""

    def health(self) -> tuple[int, dict[str, Any]]:
        """How many steps were skipped, and by path which parameters and statistics are not finite."""
        ...

    def scale(self, lr_scale: float) -> None:
        """Sets what the learning rate is multiplied by, where the schedule follows the validation metric."""

    def evaluate(self, split: str, between: Callable[[], None]) -> Evaluation:
        """What comes of a split; ``between`` is called while it goes on."""
        ...

    def close(self) -> None:
        """Lets go of what reads in the background."""


class Alone:
    """A :class:`Member` by itself, on all devices of its mesh.

    Args:
      engine: of its group.
      progress, stop: told of steps, asked for signals.
    """

    def __init__(self, setup: Setup, engine: Engine, progress: Progress, stop: Stop):
        self.setup, self.engine, self.progress, self.stop = setup, engine, progress, stop
        self.pace = Pace()
        self.step_seconds: float | None = None
        self._feed: Feed | None = None  # its rows go to the device when they are needed
        self.state: TrainState

    company = 1

    @property
    def eval_size(self) -> int:
        return self.engine.eval_size()

    @property
    def feed(self) -> Feed:
        if self._feed is None:
            self._feed = self.engine.feed(self.setup.plan.settings.seed)
        return self._feed

    def start(self) -> None:
        self.state = self.engine.start(self.setup.plan)
        self.reset()

    def place(self, arrays: dict[str, Any]) -> None:
        saved = self.engine.fit(arrays)
        self.state = jax.device_put(with_kept(self.state, saved["state"]), self.setup.everywhere)
        self._totals = jax.device_put(saved["totals"], self.setup.everywhere)

    def arrays(self) -> dict[str, np.ndarray]:
        return pytree.copied({"state": kept(self.state), "totals": self._totals})

    def train(self, at: Position, until: int) -> Waiting:
        per_epoch = self.setup.steps_per_epoch
        until = min(until, next_multiple(at.step, per_epoch))
        alone = jax.process_count() == 1  # several processes must take the same steps: they agree between calls
        while at.step < until and not (alone and self.stop.signum):
            began = time.perf_counter()
            table, order, first, count = self.feed.train(at.step, self._count(until - at.step))
            start = time.perf_counter()
            before = self._totals
            self.state, self._totals = self.engine.train_steps(
                self.state, before, {**table, **self.engine.constants}, order, np.int32(first), np.int32(count)
            )
            # Short calls overlap with preparing the next one; long ones are waited for, so that a signal need not.
            jax.block_until_ready(self._totals if count > 1 or (self.step_seconds or 1) > OVERLAP_SECONDS else before)
            done = time.perf_counter()
            compiled = self.step_seconds is None
            self.step_seconds = 1e-3 if compiled else (done - start) / count
            at.step += count
            if not compiled:
                at.seconds += done - began
                self.pace.add(count, done - began)
            self.progress.advance(at.step, epoch=at.step / per_epoch)
        return ()

    def together(self, at: Position, *, ending: bool = False) -> Waiting:
        return ()

    def totals(self) -> tuple[dict[str, Any], float | None]:
        scale = self.state.loss_scale
        return jax.device_get(self._totals), None if scale is None else float(scale.scale)

    def reset(self) -> None:
        self._totals = jax.device_put(self.engine.zeros(), self.setup.everywhere)

    def health(self) -> tuple[int, dict[str, Any]]:
        skipped, bad = jax.device_get((self.state.skipped, self.engine.nonfinite(self.state)))
        return int(skipped), bad

    def scale(self, lr_scale: float) -> None:
        if "lr_scale" in self.state.numbers:
            scale = jax.device_put(np.float32(lr_scale), self.setup.everywhere)
            self.state = replace(self.state, numbers={**self.state.numbers, "lr_scale": scale})

    def evaluate(self, split: str, between: Callable[[], None]) -> Evaluation:
        engine, sums = self.engine, jax.device_put(self.engine.counts, self.setup.everywhere)
        batches = engine.eval_batches(self.eval_size)
        most = batches if self.setup.program.loop else 1
        for table, order, first, count in self.feed.evaluate(split, self.eval_size, batches, most):
            sums = engine.eval_steps(self.state, sums, table, order, np.int32(first), np.int32(count))
            between()
        return engine.evaluation(split, jax.device_get(sums))

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()

    def _count(self, most: int) -> int:
        """How many steps the next dispatch takes: many short ones, but no more than a signal can wait for."""
        if not self.setup.program.loop:
            return 1
        if jax.process_count() > 1:
            return most
        return 1 if self.step_seconds is None else max(1, min(most, int(DISPATCH_SECONDS / self.step_seconds)))


def next_multiple(step: int, n: int) -> int:
    """The next multiple of ``n`` after ``step``."""
    return (step // n + 1) * n
