"""Runs that differ in numbers and seeds alone, trained side by side as one compiled program.

Their states are stacked: each array has one more axis, along which the runs lie. On an accelerator the program is
mapped over that axis at once (``jax.vmap``), which gives the results of the runs alone but for rounding. On CPU it goes
through the runs one by one, in a loop, which gives them to the bit: the cores are busy with one run, and what is saved
is the time between dispatches.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from dlrun.data.feed import Resident
from dlrun.display.progress import Progress
from dlrun.program import pytree, step
from dlrun.program.compiled import Engine, Evaluation
from dlrun.program.setup import Setup
from dlrun.program.state import TrainState, kept
from dlrun.train.position import Position
from dlrun.train.signals import Stop
from dlrun.train.single import DISPATCH_SECONDS, Pace, next_multiple

Steps = Generator[tuple[Position, int], None, int]


def together(stack: "Stack", runs: Sequence[Steps]) -> list[int | Exception]:
    """Drives the runs of a stack, which all stand at the same step, to their ends; gives what each of them returns.

    A run that ends early, or fails, leaves the others as they are.
    """
    results: dict[int, int | Exception] = {}
    waiting: dict[int, tuple[Position, int]] = {}

    def go_on(run: int, error: Exception | None = None) -> None:
        try:
            waiting[run] = next(runs[run]) if error is None else runs[run].throw(error)
        except StopIteration as done:
            results[run] = done.value
        except Exception as failed:  # of this run alone: a file of its own, say
            results[run] = failed
        if run in results:
            waiting.pop(run, None)

    for run in range(len(runs)):
        go_on(run)
    while waiting:
        stack.shrink(list(waiting))
        failed = None
        try:
            stack.train([at for at, _ in waiting.values()], min(until for _, until in waiting.values()))
        except Exception as error:  # of all: no memory left on the device, say
            failed = error
        for run in list(waiting):
            go_on(run, failed)
    return [results[run] for run in range(len(runs))]


class Stack:
    """The states of several runs of a group, side by side on the devices.

    Args:
      engine: of the group.
      setups: of each run.
      progress: of each run.
      stop: asked for signals.
      at_once: whether to compute all at once rather than one by one.
    """

    def __init__(
        self, engine: Engine, setups: Sequence[Setup], progress: Sequence[Progress], stop: Stop, *, at_once: bool
    ):
        self.engine, self.stop, self.at_once = engine, stop, at_once
        self.train_steps, self.eval_steps, self.nonfinite = engine.stacked(at_once)
        feeds: list[Any] = [engine.feed(setup.plan.settings.seed) for setup in setups]
        self.count = len(setups)
        slots = zip(setups, feeds, progress, strict=True)
        self.slots = {i: Slot(self, i, *slot) for i, slot in enumerate(slots)}  # by number of the run
        # One by one, a power of two: stacks of about the same size have the same program.
        self.size = len(self.slots) if at_once else 1 << (len(self.slots) - 1).bit_length()
        self.eval_size = engine.eval_size(self.size if at_once else 1)
        self.state: TrainState | None = None
        self.totals: step.Metrics
        self.order: tuple[int, Any] = (-1, None)
        self.step_seconds: float | None = None
        self.coming: dict[int, dict[str, Any]] = {}  # arrays by place and path that are to take others' place
        self.resets: set[int] = set()
        self.scales: dict[int, float] = {}
        self.known: dict[str, Any] = {}  # what was asked for since the states last changed

    @property
    def sharding(self) -> NamedSharding:
        """Each device has its share of the runs; where that doesn't come out even, or one by one, all of them."""
        mesh = self.engine.setup.mesh
        divided = self.at_once and self.size % mesh.size == 0
        return NamedSharding(mesh, PartitionSpec("batch") if divided else PartitionSpec())

    @property
    def places(self) -> tuple[np.ndarray, np.int32]:
        """The places of the runs that go on, and how many they are."""
        return self._padded([slot.place_in_stack for slot in self.slots.values()])

    def _padded(self, places: list[int]) -> tuple[np.ndarray, np.int32]:
        found = np.zeros(self.size, np.int32)
        found[: len(places)] = places
        return found, np.int32(len(places))

    # What is done for all

    def train(self, positions: list[Position], until: int) -> None:
        """Trains all up to a step, or to a signal; moves the positions, which stand at the same step."""
        at, per_epoch = positions[0].step, self.engine.setup.steps_per_epoch
        if at >= until:
            return
        self._settle()
        epoch = at // per_epoch
        if epoch != self.order[0]:
            mine = {slot.place_in_stack: slot.feed.shuffled(epoch) for slot in self.slots.values()}
            order = np.stack([mine.get(place, next(iter(mine.values()))) for place in range(self.size)])
            self.order = epoch, jax.device_put(order, self.sharding)
        data = {**self._feed.table, **self.engine.constants}
        while at < until and not self.stop.signum:
            began = time.perf_counter()
            count = self._count(until - at)
            self.state, self.totals = self.train_steps(
                self.state, self.totals, data, self.order[1], np.int32(at % per_epoch), np.int32(count), *self.places
            )
            self.known.clear()
            jax.block_until_ready(self.totals)
            seconds = time.perf_counter() - began
            if self.step_seconds is None:  # that was the compiler's
                self.step_seconds, seconds = 1e-3, 0.0
            else:
                self.step_seconds = seconds / count
            at += count
            for position in positions:
                position.step, position.seconds = at, position.seconds + seconds / len(positions)
            for slot in self.slots.values():
                slot.pace.add(count if seconds else 0, seconds, len(positions))
                slot.progress.advance(at, epoch=at / per_epoch)

    def evaluate(self, split: str, between: Callable[[], None]) -> dict[str, np.ndarray]:
        """Sums over the examples of a split, with an axis of the runs; ``between`` is called after each dispatch."""
        if self.coming:
            self._settle()
        if split not in self.known:
            engine = self.engine
            sums = jax.tree.map(lambda a: np.zeros((self.size, *a.shape), a.dtype), engine.counts)
            sums = jax.device_put(sums, self.sharding)
            batches = engine.eval_batches(self.eval_size)
            most = batches if engine.setup.program.loop else 1
            ending = [slot.place_in_stack for slot in self.slots.values() if slot.ending]
            places = self._padded(ending) if split == "test" else self.places
            for table, order, first, count in self._feed.evaluate(split, self.eval_size, batches, most):
                where = (np.int32(first), np.int32(count), *places)
                sums = self.eval_steps(self.state, sums, table, order, *where)
                between()
            self.known[split] = jax.device_get(sums)
        return self.known[split]

    def read(self, what: str) -> Any:
        """``arrays`` to save, ``totals`` of training with the loss scales, or ``health``: on the host, for all."""
        if self.state is None:
            self._settle()
        if what not in self.known:
            state: Any = self.state
            if what == "arrays":
                found = pytree.flat({"state": kept(state), "totals": self.totals})
            elif what == "totals":
                found = (self.totals, None if state.loss_scale is None else state.loss_scale.scale)
            else:
                found = (state.skipped, self.nonfinite(state))
            self.known[what] = jax.device_get(found)
        return self.known[what]

    def shrink(self, waiting: list[int]) -> None:
        """Leaves out the runs that don't wait any more; all at once, when they are half of all, by another program."""
        if len(waiting) == len(self.slots) or (self.at_once and 2 * len(waiting) > len(self.slots)):
            return
        self._settle()
        self.slots = {run: self.slots[run] for run in waiting}
        if self.at_once:
            places = np.array([slot.place_in_stack for slot in self.slots.values()])
            for place, slot in enumerate(self.slots.values()):
                slot.place_in_stack = place
            self.size, self.order, self.step_seconds = len(places), (-1, None), None
            state, totals = jax.tree.map(lambda a: a[places], (self.state, self.totals))
            self.state, self.totals = jax.device_put((state, totals), self.sharding)
            self.known.clear()

    @property
    def _feed(self) -> Resident:
        return next(iter(self.slots.values())).feed

    def _count(self, most: int) -> int:
        """How many steps the next dispatch takes; see :class:`~dlrun.train.single.Alone`."""
        if not self.engine.setup.program.loop or self.step_seconds is None:
            return 1
        return max(1, min(most, int(DISPATCH_SECONDS / self.step_seconds)))

    def _settle(self) -> None:
        """What the runs asked for one by one takes its place in the stacked arrays."""
        for place, lr_scale in self.scales.items():
            self.coming.setdefault(place, {})["state/numbers/lr_scale"] = np.float32(lr_scale)
        for place in self.resets:
            self.coming.setdefault(place, {}).update(self.engine.no_totals)
        self.scales.clear()
        self.resets.clear()
        if not self.coming:
            return
        if self.state is None:  # all come whole, or else failed before they began: then another's arrays are as good
            whole = next(iter(self.coming.values()))
            given = [self.coming.get(place, whole) for place in range(self.size)]
            arrays = {path: np.stack([g[path] for g in given]) for path in whole}
            like: Any = {"state": self.engine.setup.shapes, "totals": self.engine.zeros()}
        else:
            like = {"state": self.state, "totals": self.totals}
            arrays = pytree.flat(like)
            for path in {path for given in self.coming.values() for path in given}:
                arrays[path] = np.array(arrays[path])
                for place, given in self.coming.items():
                    if path in given:
                        arrays[path][place] = given[path]
        tree = pytree.unflat(jax.device_put(arrays, self.sharding), like)
        self.state, self.totals = tree["state"], tree["totals"]
        self.coming.clear()
        self.known.clear()


class Slot:
    """One run of a stack, a :class:`~dlrun.train.single.Member`. What the first asks for, the others find done.

    Args:
      place_in_stack: along the axis of the runs.
      feed: gives its rows.

    Attributes:
      pace: how fast it is trained.
      ending: whether all its steps are taken.
      feed: gives its rows.
    """

    def __init__(self, stack: Stack, place_in_stack: int, setup: Setup, feed: Resident, progress: Progress):
        self.stack, self.place_in_stack, self.setup = stack, place_in_stack, setup
        self.feed, self.progress = feed, progress
        self.pace = Pace(stack.count)
        self.ending = False

    @property
    def engine(self) -> Engine:
        return self.stack.engine

    @property
    def company(self) -> int:
        return len(self.stack.slots)

    @property
    def eval_size(self) -> int:
        return self.stack.eval_size

    @property
    def state(self) -> TrainState:
        self._settled()
        return jax.tree.map(lambda a: a[self.place_in_stack], self.stack.state)

    def start(self) -> None:
        engine = self.stack.engine
        whole = {"state": engine.start(self.setup.plan), "totals": engine.zeros()}
        self.stack.coming[self.place_in_stack] = jax.device_get(pytree.flat(whole))

    def place(self, arrays: dict[str, Any]) -> None:
        self.stack.engine.fit(arrays)
        self.stack.coming.setdefault(self.place_in_stack, {}).update(arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        self._settled()
        mine = {path: np.array(a[self.place_in_stack]) for path, a in self.stack.read("arrays").items()}
        return mine | (self.stack.engine.no_totals if self.place_in_stack in self.stack.resets else {})

    def train(self, at: Position, until: int) -> Iterable[tuple[Position, int]]:
        before, until = at.step, min(until, next_multiple(at.step, self.setup.steps_per_epoch))
        while at.step == before and not self.stack.stop.signum:
            yield at, until

    def together(self, at: Position, *, ending: bool = False) -> Iterable[tuple[Position, int]]:
        self.ending = ending
        yield at, at.step

    def totals(self) -> tuple[dict[str, Any], float | None]:
        self._settled()
        totals, scales = jax.tree.map(lambda a: a[self.place_in_stack], self.stack.read("totals"))
        return totals, None if scales is None else float(scales)

    def reset(self) -> None:
        self.stack.resets.add(self.place_in_stack)

    def health(self) -> tuple[int, dict[str, Any]]:
        self._settled()
        skipped, bad = jax.tree.map(lambda a: a[self.place_in_stack], self.stack.read("health"))
        return int(skipped), bad

    def scale(self, lr_scale: float) -> None:
        if "lr_scale" in self.setup.numbers:
            self.stack.scales[self.place_in_stack] = lr_scale

    def evaluate(self, split: str, between: Callable[[], None]) -> Evaluation:
        sums = self.stack.evaluate(split, between)
        return self.stack.engine.evaluation(split, jax.tree.map(lambda a: a[self.place_in_stack], sums))

    def close(self) -> None:
        """Nothing reads in the background."""

    def _settled(self) -> None:
        if self.place_in_stack in self.stack.coming:
            self.stack._settle()
