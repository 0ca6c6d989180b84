"""The training state of a single run, on all devices of its mesh."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from dlrun.data.feed import Feed
from dlrun.program import pytree
from dlrun.program.compiled import CompiledProgram, Evaluation
from dlrun.program.setup import Setup
from dlrun.program.state import TrainState, kept, with_kept
from dlrun.train.states import Arrays, dispatched, evaluated

OVERLAP_SECONDS = 0.02  # steps shorter than this overlap with preparing the next one


class SingleState:
    """The :class:`~dlrun.train.states.States` of a single run, whose place is 0.

    Args:
      compiled: its program, compiled.
    """

    def __init__(self, setup: Setup, compiled: CompiledProgram):
        self.setup, self.compiled = setup, compiled
        self.step_seconds: float | None = None
        self._feed: Feed | None = None  # made at the first use, as it puts the rows on the device
        self._zeros: Any = None
        self._state: TrainState
        self._totals: Any

    @property
    def eval_size(self) -> int:
        return self.compiled.eval_size()

    def start(self, saved: Mapping[int, Arrays | None]) -> None:
        self._state = self.compiled.start(self.setup.plan)
        self.reset([0])
        if saved[0] is not None:
            self.place({0: saved[0]})

    def advance(self, step: int, until: int) -> tuple[int, float | None]:
        began = time.perf_counter()
        table, order, first, count = self.feed(0).train(step, self._count(until - step))
        start = time.perf_counter()
        before = self._totals
        self._state, self._totals = self.compiled.train_steps(
            self._state, before, {**table, **self.compiled.constants}, order, np.int32(first), np.int32(count)
        )
        # A short dispatch may still run while the next is prepared. A long one is waited for, so that a signal never
        # has to wait for two.
        jax.block_until_ready(self._totals if count > 1 or (self.step_seconds or 1) > OVERLAP_SECONDS else before)
        done = time.perf_counter()
        compiles = self.step_seconds is None
        self.step_seconds = 1e-3 if compiles else (done - start) / count
        return step + count, None if compiles else done - began

    def evaluate(self, split: str, places: Sequence[int], stopped: Callable[[], bool]) -> dict[int, Evaluation]:
        zeros = jax.device_put(self.compiled.eval_zeros, self.setup.replicated)

        def step(sums: Any, *batches: Any) -> Any:
            return self.compiled.eval_steps(self._state, sums, *batches)

        sums = evaluated(self, split, zeros, step, stopped)
        return {} if sums is None else {0: self.compiled.evaluation(split, sums)}

    def totals(self, places: Sequence[int]) -> dict[int, tuple[dict[str, Any], float | None]]:
        scale = self._state.loss_scale
        return {0: (jax.device_get(self._totals), None if scale is None else float(scale.scale))}

    def reset(self, places: Sequence[int]) -> None:
        if self._zeros is None:  # no function is given them to overwrite, so that they serve for every row
            self._zeros = jax.device_put(self.compiled.zeros(), self.setup.replicated)
        self._totals = self._zeros

    def scale(self, scales: Mapping[int, float]) -> None:
        scale = jax.device_put(np.float32(scales[0]), self.setup.replicated)
        self._state = replace(self._state, numbers={**self._state.numbers, "lr_scale": scale})

    def health(self, places: Sequence[int]) -> dict[int, tuple[int, dict[str, Any]]]:
        skipped, bad = jax.device_get((self._state.skipped, self.compiled.nonfinite(self._state)))
        return {0: (int(skipped), bad)}

    def arrays(self, places: Sequence[int]) -> dict[int, dict[str, np.ndarray]]:
        return {0: pytree.copied({"state": kept(self._state), "totals": self._totals})}

    def place(self, saved: Mapping[int, Arrays]) -> None:
        fitted = self.compiled.fit(saved[0])
        self._state = jax.device_put(with_kept(self._state, fitted["state"]), self.setup.replicated)
        self._totals = jax.device_put(fitted["totals"], self.setup.replicated)

    def state(self, place: int) -> TrainState:
        return self._state

    def feed(self, place: int) -> Feed:
        if self._feed is None:
            self._feed = self.compiled.feed(self.setup.plan.settings.seed)
        return self._feed

    def keep(self, places: Sequence[int]) -> None:
        """Nothing to do: there is only one run."""

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()

    def _count(self, most: int) -> int:
        """How many steps the next dispatch takes. Several processes must agree: they ignore measured time."""
        if not self.setup.program.loop:
            return 1
        return most if jax.process_count() > 1 else dispatched(most, self.step_seconds)
