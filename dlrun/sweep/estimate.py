"""What a sweep would take, without making anything: jobs, groups, compilations, time and memory."""

import time
from collections.abc import Sequence

import jax
import numpy as np

from dlrun import checkpoint
from dlrun.engine import Engine
from dlrun.progress import clock
from dlrun.sweep.groups import Group
from dlrun.sweep.job import Job
from dlrun.sweep.launchers.base import Launcher
from dlrun.sweep.work import stacks

MEASURED = 4  # groups that are compiled and timed; the others are taken to be like them
SECONDS = 0.5  # of steps that are timed in each


def report(jobs: Sequence[Job], groups: Sequence[Group], launcher: Launcher, over: int) -> str:
    """Lines for a person."""
    left = sum(len(group.jobs) for group in groups)
    lines = [f"{len(jobs)} jobs" + (f", {over} of them done" if over else "")]
    compilations, found = 0, []
    for i, group in enumerate(groups):
        engine = Engine(group.setups[0])
        sizes = stacks(engine, len(group.jobs), vmap=launcher.vmap, chunk=launcher.chunk)
        compilations += len(set(sizes))
        how = f"{len(sizes)} x {sizes[0]} stacked" if sizes[0] > 1 else "one after the other"
        lines.append(f"group {i}: {len(group.jobs)} jobs, {how}")
        for job in group.jobs:
            lines.append(f"  {job.number}  {' '.join(job.overrides)}")
        if i < MEASURED:
            compiling, step = measured(engine)
            steps = sum(setup.total_steps for setup in group.setups)
            found.append((compiling * len(set(sizes)), step * steps, len(group.jobs), memory(engine, max(sizes))))
    lines.append(f"{len(groups)} groups, {compilations} compilations of the training step")
    if found:
        training = sum(f[1] for f in found) / sum(f[2] for f in found) * left
        compiling = sum(f[0] for f in found) / len(found) * len(groups)
        largest = max(f[3] for f in found)
        lines.append(
            f"about {clock(training)} of training steps and {clock(compiling)} of compiling one after the other, "
            f"{largest / 1e6:,.0f} MB for states and data (estimated from {len(found)} groups)"
        )
    return "\n".join(lines)


def measured(engine: Engine) -> tuple[float, float]:
    """Seconds to compile the training step, and of a step."""
    setup = engine.setup
    feed, state = engine.feed(0), engine.start(setup.plan)
    totals = jax.device_put(engine.zeros(), setup.everywhere)
    began, first, steps = time.perf_counter(), None, 0
    while True:
        table, order, start, _ = feed.train(steps % setup.steps_per_epoch, 1)
        data = {**table, **engine.constants}
        state, totals = engine.train_steps(state, totals, data, order, np.int32(start), np.int32(1))
        jax.block_until_ready(state)
        now = time.perf_counter()
        if first is None:
            first = now
        else:
            steps += 1
            if now - first > SECONDS:
                feed.close()
                return first - began, (now - first) / steps


def memory(engine: Engine, stacked: int) -> int:
    """Bytes of the states of stacked jobs, with gradients and updates, and of the data."""
    shapes = jax.eval_shape(checkpoint.flat, engine.setup.shapes)
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    data = 0 if engine.streams else sum(a.nbytes for a in engine.table[0].values())
    return 3 * state * stacked + data
