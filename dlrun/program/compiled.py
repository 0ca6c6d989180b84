"""Compiles a program: its functions and the rows of the data set on the devices, shared by all runs of the program."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from dlrun.config.plan import Plan
from dlrun.data import batches
from dlrun.data.feed import Feed, Resident, Table, streams
from dlrun.program import memory, pytree, step
from dlrun.program.nonfinite import nonfinite, unsound
from dlrun.program.setup import Setup, numbers
from dlrun.program.state import TrainState, kept


@dataclass(frozen=True)
class Evaluation:
    """The results of evaluating a split.

    Args:
      metrics: by name; where there is a ``problem`` also ``nonfinite``, the number of examples that are not finite.
      details: results for each class.
      problem: says what is not finite, if anything is; the metrics must not be used then. None if all is finite.
    """

    metrics: dict[str, float]
    details: dict[str, Any]
    problem: str | None


MOST_EVALUATED = 512  # examples at a time: more make nothing faster


F = TypeVar("F", bound=Callable[..., Any])


def kept_with_instance(method: F) -> F:
    """Keeps what a method returns, by its arguments, for as long as its object lives.

    ``functools.cache`` would keep the object itself: each program of a long search, with its rows on the device.
    """
    name = f"_{method.__name__}_kept"

    @wraps(method)
    def call(self: Any, *args: Any) -> Any:
        known = vars(self).setdefault(name, {})
        if args not in known:
            known[args] = method(self, *args)
        return known[args]

    return call  # pyright: ignore[reportReturnType]


class CompiledProgram:
    """Compiles a program once, for all runs that differ in numbers and seeds alone.

    :mod:`dlrun.train` makes one for a single run or for a group of a sweep's runs, and calls its compiled functions
    with each run's state. :mod:`dlrun.sweep` passes on those of earlier groups, and asks what memory one takes.

    Args:
      setup: of any of the runs.
      others: those of other groups; where one has put the same data on the same devices, that table is used again.
    """

    def __init__(self, setup: Setup, others: Iterable["CompiledProgram"] = ()):
        self.setup = setup
        program, graphdef = setup.program, setup.graphdef
        self.jit = partial(jax.jit, compiler_options=setup.compiler_options)
        self.init = self.jit(lambda seed, n: step.init(program, seed, n)[1], out_shardings=setup.replicated)
        self.train_steps = self.jit(partial(step.train_steps, program, graphdef), donate_argnums=0)
        self.eval_steps = self.jit(partial(step.eval_steps, program, graphdef), donate_argnums=1)
        self.nonfinite = self.jit(nonfinite)
        self.constants = jax.device_put(setup.constants, setup.replicated)

        for other in others:
            if other.setup.data is setup.data and other.setup.mesh == setup.mesh and "table" in vars(other):
                self.table = other.table

        self.longest = max(len(setup.data.val or ()), len(setup.data.test or ()))
        given = min(setup.plan.settings.eval.batch_size or MOST_EVALUATED, self.longest)
        self.most_evaluated = -(-given // setup.mesh.size) * setup.mesh.size

    @kept_with_instance
    def stacked(self, at_once: bool) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
        """The training steps, the evaluation steps and the search for numbers that are not finite, for stacked states.

        The first two take two more arguments than those for one run: the places in the stack to compute, and how many
        of these count. So the same program can be used when runs leave the stack.

        Args:
          at_once: whether all places are computed together by ``jax.vmap``, whatever these arguments say; otherwise one
            place after the other, in a loop.
        """
        program, graphdef = self.setup.program, self.setup.graphdef
        train: Any = partial(step.train_steps, program, graphdef)
        evaluate: Any = partial(step.eval_steps, program, graphdef)

        def over(f, changing, read, places, number):
            if at_once:
                return jax.vmap(f)(changing, read)

            def one(i, changing):
                place = places[i]
                mine = jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, place, keepdims=False), (changing, read))
                return jax.tree.map(
                    lambda a, new: jax.lax.dynamic_update_index_in_dim(a, new, place, 0), changing, f(*mine)
                )

            return jax.lax.fori_loop(0, number, one, changing)

        def train_all(state, totals, data, order, first, count, places, number):
            def f(changing, order):
                return train(*changing, data, order, first, count)

            return over(f, (state, totals), order, places, number)

        def evaluate_all(state, sums, data, order, first, count, places, number):
            return over(lambda s, state: evaluate(state, s, data, order, first, count), sums, state, places, number)

        return (
            self.jit(train_all, donate_argnums=(0, 1)),
            self.jit(evaluate_all, donate_argnums=1),
            self.jit(jax.vmap(nonfinite)),
        )

    def start(self, plan: Plan) -> TrainState:
        """The state of a run before its first step, on the devices."""
        return self.init(np.uint32(plan.settings.seed), numbers(plan, self.setup.data))

    @property
    def streams(self) -> bool:
        """Whether rows are read while the device computes, not put there once; then each run reads its own."""
        return streams(self.setup.data, self.setup.plan.settings.stream)

    def feed(self, seed: int) -> Feed:
        """Gives the rows to a run with this seed; all runs share the table of a small data set."""
        setup, settings = self.setup, self.setup.plan.settings
        if self.streams:
            from dlrun.data.streamed import Streamed  # here, as importing Grain takes a second

            where, loop = (setup.replicated, setup.batch_sharding), setup.program.loop
            return Streamed(setup.data, settings.batch_size, seed, *where, settings.stream, loop=loop)
        table, rows = self.table
        return Resident(table, rows, settings.batch_size, seed, setup.batch_sharding)

    @cached_property
    def table(self) -> tuple[Table, dict[str, np.ndarray]]:
        """The rows of a small data set on the devices, and the row numbers of each split."""
        table, rows = batches.one_table(self.setup.data)
        return jax.device_put(table, self.setup.replicated), rows

    def zeros(self) -> dict[str, dict[str, Any]]:
        """Sums of training metrics before the first step."""
        names = [*self.setup.program.task.metrics, "loss", "grad_norm", "count"]
        return {"sum": {k: np.float32(0) for k in sorted(set(names))}, "last": {"lr": np.float32(0)}}

    def fit(self, arrays: dict[str, Any]) -> Any:
        """A run's saved arrays as a tree; raises :class:`~dlrun.runs.checkpoint.CheckpointError` if they don't fit."""
        return pytree.fit(arrays, {"state": kept(self.setup.shapes), "totals": self.zeros()})

    @cached_property
    def zeros_by_path(self) -> dict[str, np.ndarray]:
        """:meth:`zeros` by path, as they are saved."""
        return pytree.flat({"totals": self.zeros()})

    @kept_with_instance
    def eval_size(self, runs: int = 1) -> int:
        """How many examples to evaluate at a time: ``eval.batch_size``, or as many as fit into :func:`memory.room`.

        The latter is a power of two for each device, so that machines with nearly the same memory take the same size.
        With another size the sums run in another order, and XLA may choose other kernels: losses and errors are the
        same but for rounding. What is counted (accuracy, confusion, and F1 from it) is the same number, unless rounding
        decides a tie between outputs.

        Args:
          runs: how many runs are computed at once; they share the memory.
        """
        most, devices = self.most_evaluated, self.setup.mesh.size
        if self.setup.plan.settings.eval.batch_size is not None:
            return most
        room = memory.room(devices) // runs
        if jax.process_count() > 1:  # all processes must take the same size
            room = int(multihost_utils.process_allgather(np.int64(room)).min())
        if most == devices or (of_most := self.eval_bytes(most)) <= room:
            return most
        least = self.eval_bytes(devices)
        fit = 1 + (room - least) * (most / devices - 1) / max(of_most - least, 1)  # on each device
        return 2 ** int(math.log2(max(fit, 1))) * devices

    def eval_batches(self, size: int) -> int:
        """How many batches of ``size`` examples the longest split makes."""
        return -(-self.longest // size)

    def eval_bytes(self, size: int) -> int:
        """Bytes that evaluating ``size`` examples at a time takes on all devices together, beside states and data."""
        return self._evaluated(size)[1]

    @cached_property
    def eval_zeros(self) -> step.Sums:
        """Sums of an evaluation before the first example."""
        return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), self._evaluated(self.most_evaluated)[0])

    @kept_with_instance
    def _evaluated(self, size: int) -> tuple[Any, int]:
        """Shapes of an evaluation's sums, and the bytes that ``size`` examples at a time take; from one trace."""
        setup = self.setup
        batch = {"x": setup.examples(size), "y": setup.targets(size)}
        of_step = jax.make_jaxpr(partial(step.eval_step, setup.program, setup.graphdef), return_shape=True)
        traced, sums = of_step(setup.shapes, batch, jax.ShapeDtypeStruct((size,), np.float32))
        rows = sum(a.size * a.dtype.itemsize for a in batch.values())
        return sums, memory.peak(traced.jaxpr) + rows

    def evaluation(self, split: str, sums: dict[str, Any]) -> Evaluation:
        """The results of a split, from the sums over its examples."""
        task = self.setup.program.task
        means = {k: float(sums[k]) / float(sums["count"]) for k in ("loss", *task.metrics)}
        if (problem := unsound(split, sums)) is None:
            return Evaluation(task.report(split, means, sums), task.details(sums), None)
        of_all = dict.fromkeys(task.names, math.nan)  # one bad example spoils what is computed from all of them
        return Evaluation({**of_all, **means, "nonfinite": int(sums["nonfinite"][:2].sum())}, {}, problem)
