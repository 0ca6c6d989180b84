"""``--dry-run``: estimates a sweep's groups, compilations, time and memory, and makes no files."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from dlrun.display.units import clock, counted, noun
from dlrun.program import pytree
from dlrun.program.compiled import CompiledProgram
from dlrun.program.setup import Setup
from dlrun.sweep import capacity
from dlrun.sweep.jobs.groups import Group
from dlrun.sweep.jobs.job import Job
from dlrun.sweep.launchers.base import Launcher
from dlrun.system import environment
from dlrun.train.states import DISPATCH_SECONDS

MEASURED = 4  # groups that are compiled and timed; the others are assumed to be like them
SECONDS = 0.5  # how long the steps of each group are timed


@dataclass(frozen=True)
class Cost:
    """What a group of jobs takes.

    Args:
      jobs: how many there are.
      compilations: how often the training step is compiled: once for each size of stack.
      compiling: seconds that all compilations take.
      training: seconds of a job's training steps, on average.
      memory: bytes of this process, with the states of stacked jobs and what their evaluation takes.
      resident: bytes on the device for states and data.
    """

    jobs: int
    compilations: int
    compiling: float
    training: float
    memory: int
    resident: int


def report(jobs: Sequence[Job], groups: Sequence[Group], launcher: Launcher, over: int) -> str:
    """The estimate of a grid, in lines for a person; ``over`` counts jobs that are done, which are in no group."""
    left = sum(len(group.jobs) for group in groups)
    lines = [f"{len(jobs)} {noun(len(jobs), 'job')}" + (f", {over} of them done" if over else "")]
    compilations, costs = 0, []
    for i, group in enumerate(groups):
        sizes = stack_sizes(CompiledProgram(group.setups[0]), len(group.jobs), launcher)
        compilations += len(set(sizes))
        many = f"up to {max(sizes)}" if len(set(sizes)) > 1 else str(sizes[0])
        how = f"{counted(len(sizes), 'stack')} of {many}" if max(sizes) > 1 else "one after the other"
        lines.append(f"group {i}: {len(group.jobs)} {noun(len(group.jobs), 'job')}, {how}")
        lines += [f"  {job.number}  {' '.join(job.overrides)}" for job in group.jobs]
        if i < MEASURED:
            costs.append(cost(group.setups, launcher, len(group.jobs)))
    compiled = f"{compilations} {noun(compilations, 'compilation')} of the training step"
    lines.append(f"{len(groups)} {noun(len(groups), 'group')}, {compiled}")
    return "\n".join([*lines, about(costs, left, len(groups))] if costs else lines)


def about(measured: Sequence[Cost], jobs: int, groups: int) -> str:
    """The estimate for ``jobs`` jobs in ``groups`` groups like the measured ones, in a line for a person."""
    training = sum(cost.training * cost.jobs for cost in measured) / sum(cost.jobs for cost in measured) * jobs
    compiling = sum(cost.compiling for cost in measured) / len(measured) * groups
    memory, resident = max(cost.memory for cost in measured), max(cost.resident for cost in measured)
    return (
        f"about {clock(training)} of training and {clock(compiling)} of compilation, "
        "if all groups run one after the other; "
        f"{memory / 1e6:,.0f} MB of memory, {resident / 1e6:,.0f} MB of it for states and data "
        f"(estimated from {len(measured)} {noun(len(measured), 'group')})"
    )


def stack_sizes(compiled: CompiledProgram, jobs: int, launcher: Launcher) -> list[int]:
    """The sizes of the stacks that train ``jobs`` jobs of a group, one stack after the other."""
    return capacity.stacks(compiled, jobs, vmap=launcher.vmap, chunk=launcher.chunk)


def cost(setups: Sequence[Setup], launcher: Launcher, jobs: int) -> Cost:
    """Compiles and times a group's training step.

    Args:
      setups: of some jobs of the group.
      jobs: how many the whole group has.
    """
    compiled = CompiledProgram(setups[0])
    sizes = stack_sizes(compiled, jobs, launcher)
    compiling, step = timed(compiled)
    steps = sum(setup.total_steps for setup in setups) / len(setups)
    shapes = jax.eval_shape(pytree.flat, compiled.setup.shapes)
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    data = 0 if compiled.streams else sum(a.nbytes for a in compiled.table[0].values())
    stacked = 3 * state * max(sizes)  # with gradients and updates
    different = len(set(sizes))
    at_once = max(sizes) if capacity.at_once(compiled, launcher.vmap) else 1
    evaluating = at_once * compiled.eval_bytes(compiled.eval_size(at_once))
    memory = environment.peak_memory() + stacked + evaluating
    return Cost(jobs, different, compiling * different, step * steps, memory, stacked + data)


def timed(compiled: CompiledProgram) -> tuple[float, float]:
    """Seconds to compile the training step, and seconds per step, with as many steps in a dispatch as in training."""
    setup = compiled.setup
    feed, state = compiled.feed(0), compiled.start(setup.plan)
    totals = jax.device_put(compiled.zeros(), setup.replicated)
    began, first, steps, most = time.perf_counter(), None, 0, 1
    while True:
        at = steps % setup.steps_per_epoch
        table, order, start, count = feed.train(at, min(most, setup.steps_per_epoch - at))
        data = {**table, **compiled.constants}
        state, totals = compiled.train_steps(state, totals, data, order, np.int32(start), np.int32(count))
        jax.block_until_ready(state)
        now = time.perf_counter()
        if first is None:
            first = now
            continue
        steps += count
        if setup.program.loop:
            most = max(1, int(DISPATCH_SECONDS * steps / (now - first)))
        if now - first > SECONDS:
            feed.close()
            return first - began, (now - first) / steps
