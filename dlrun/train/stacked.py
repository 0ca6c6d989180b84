"""The training states of several runs that differ only in numbers and seeds, trained by one compiled program.

The states are stacked: each array has one more axis, with an entry for each run. On an accelerator, ``jax.vmap`` maps
the program over that axis, and the results are those of single runs but for rounding. On CPU a loop on the device
computes one run after the other, and the results are the same to the bit: one run keeps the cores busy, and only the
time between dispatches is saved.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from dlrun.program import pytree
from dlrun.program.compiled import CompiledProgram, Evaluation
from dlrun.program.setup import Setup
from dlrun.program.state import TrainState, kept
from dlrun.train.states import Arrays, dispatched, evaluated

LR_SCALE = "state/numbers/lr_scale"
"""The path of the factor by which a plateau schedule multiplies the learning rate."""


class StackedState:
    """The :class:`~dlrun.train.states.States` of several runs of a group.

    Args:
      compiled: the group's program, compiled.
      setups: one for each run.
      at_once: whether to compute all runs at once rather than one by one.
    """

    def __init__(self, compiled: CompiledProgram, setups: Sequence[Setup], *, at_once: bool):
        self.compiled, self.setups, self.at_once = compiled, setups, at_once
        self.train_steps, self.eval_steps, self.nonfinite = compiled.stacked(at_once)
        self.feeds: list[Any] = [compiled.feed(setup.plan.settings.seed) for setup in setups]
        # The row in the stacked arrays of each run that has not ended, by its place.
        self.rows = {place: place for place in range(len(setups))}
        # One by one, the size is rounded up to a power of two, so that stacks of similar size share a program.
        self.size = len(setups) if at_once else 1 << (len(setups) - 1).bit_length()
        self.eval_size = compiled.eval_size(self.size if at_once else 1)
        self.order: tuple[int, Any] = (-1, None)
        self.step_seconds: float | None = None
        self._state: Any
        self._totals: Any

    @property
    def sharding(self) -> NamedSharding:
        """Each device holds its share of the runs; all, if they don't divide evenly or are computed one by one."""
        mesh = self.compiled.setup.mesh
        divided = self.at_once and self.size % mesh.size == 0
        return NamedSharding(mesh, PartitionSpec("batch") if divided else PartitionSpec())

    def start(self, saved: Mapping[int, Arrays | None]) -> None:
        compiled, whole = self.compiled, {}
        for place, arrays in saved.items():
            fresh = {"state": compiled.start(self.setups[place].plan), "totals": compiled.zeros()}
            whole[place] = jax.device_get(pytree.flat(fresh))
            if arrays is not None:
                compiled.fit(arrays)
                whole[place] |= arrays
        any_other = next(iter(whole.values()))  # fills the rows that belong to no run
        given = [whole.get(place, any_other) for place in range(self.size)]
        stacked = {path: np.stack([arrays[path] for arrays in given]) for path in any_other}
        self._take(stacked, {"state": compiled.setup.shapes, "totals": compiled.zeros()})

    def advance(self, step: int, until: int) -> tuple[int, float | None]:
        per_epoch = self.compiled.setup.steps_per_epoch
        epoch, first = divmod(step, per_epoch)
        if epoch != self.order[0]:
            shuffled = {row: self.feeds[place].shuffled(epoch) for place, row in self.rows.items()}
            any_other = next(iter(shuffled.values()))
            order = np.stack([shuffled.get(row, any_other) for row in range(self.size)])
            self.order = epoch, jax.device_put(order, self.sharding)
        began = time.perf_counter()
        count = dispatched(until - step, self.step_seconds) if self.compiled.setup.program.loop else 1
        self._state, self._totals = self.train_steps(
            self._state,
            self._totals,
            {**self.feed(0).table, **self.compiled.constants},
            self.order[1],
            np.int32(first),
            np.int32(count),
            *self._padded(self.rows.values()),
        )
        jax.block_until_ready(self._totals)
        seconds = time.perf_counter() - began
        compiles = self.step_seconds is None
        self.step_seconds = 1e-3 if compiles else seconds / count
        return step + count, None if compiles else seconds

    def evaluate(self, split: str, places: Sequence[int], stopped: Callable[[], bool]) -> dict[int, Evaluation]:
        zeros = jax.tree.map(lambda a: np.zeros((self.size, *a.shape), a.dtype), self.compiled.eval_zeros)
        rows = self._padded([self.rows[place] for place in places])

        def step(sums: Any, *batches: Any) -> Any:
            return self.eval_steps(self._state, sums, *batches, *rows)

        sums = evaluated(self, split, jax.device_put(zeros, self.sharding), step, stopped)
        each = {} if sums is None else self._each(sums, places)
        return {place: self.compiled.evaluation(split, mine) for place, mine in each.items()}

    def totals(self, places: Sequence[int]) -> dict[int, tuple[dict[str, Any], float | None]]:
        scale = self._state.loss_scale
        read = jax.device_get((self._totals, None if scale is None else scale.scale))
        found = self._each(read, places)
        return {place: (totals, None if scale is None else float(scale)) for place, (totals, scale) in found.items()}

    def reset(self, places: Sequence[int]) -> None:
        self._change(dict.fromkeys(places, self.compiled.zeros_by_path))

    def scale(self, scales: Mapping[int, float]) -> None:
        self._change({place: {LR_SCALE: np.float32(scale)} for place, scale in scales.items()})

    def health(self, places: Sequence[int]) -> dict[int, tuple[int, dict[str, Any]]]:
        found = self._each(jax.device_get((self._state.skipped, self.nonfinite(self._state))), places)
        return {place: (int(skipped), bad) for place, (skipped, bad) in found.items()}

    def arrays(self, places: Sequence[int]) -> dict[int, dict[str, np.ndarray]]:
        read = jax.device_get(pytree.flat({"state": kept(self._state), "totals": self._totals}))
        return {place: {path: np.array(a[self.rows[place]]) for path, a in read.items()} for place in places}

    def place(self, saved: Mapping[int, Arrays]) -> None:
        for arrays in saved.values():
            self.compiled.fit(arrays)
        self._change(saved)

    def state(self, place: int) -> TrainState:
        return self._each(self._state, [place])[place]

    def feed(self, place: int) -> Any:
        return self.feeds[place]

    def keep(self, places: Sequence[int]) -> None:
        """Trains only these runs from now on.

        At once, ended runs are computed on until half of them have ended: a smaller stack needs another compilation.
        """
        if self.at_once and 2 * len(places) > len(self.rows):
            return
        self.rows = {place: self.rows[place] for place in places}
        if self.at_once:
            rows = np.array([*self.rows.values()])
            self.rows = {place: row for row, place in enumerate(places)}
            self.size, self.order, self.step_seconds = len(rows), (-1, None), None
            state = jax.tree.map(lambda a: a[rows], (self._state, self._totals))
            self._state, self._totals = jax.device_put(state, self.sharding)

    def close(self) -> None:
        """Nothing to do: no thread reads data in the background."""

    def _padded(self, rows: Any) -> tuple[np.ndarray, np.int32]:
        """Row numbers, padded to the size of the stack as the compiled functions take them, and how many there are."""
        rows = list(rows)
        found = np.zeros(self.size, np.int32)
        found[: len(rows)] = rows
        return found, np.int32(len(rows))

    def _each(self, tree: Any, places: Sequence[int]) -> dict[int, Any]:
        """The part of a tree of stacked arrays that belongs to each of some runs."""
        return {place: jax.tree.map(lambda a, row=self.rows[place]: a[row], tree) for place in places}

    def _change(self, given: Mapping[int, Arrays]) -> None:
        """Replaces arrays, given by path, of some runs."""
        like = {"state": self._state, "totals": self._totals}
        stacked = pytree.flat(like)
        for path in {path for arrays in given.values() for path in arrays}:
            stacked[path] = np.array(stacked[path])
            for place, arrays in given.items():
                if path in arrays:
                    stacked[path][self.rows[place]] = arrays[path]
        self._take(stacked, like)

    def _take(self, stacked: Arrays, like: Any) -> None:
        tree = pytree.unflat(jax.device_put(stacked, self.sharding), like)
        self._state, self._totals = tree["state"], tree["totals"]
