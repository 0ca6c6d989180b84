"""What the training loop costs over a bare hand-written JAX loop of the same step on the same data.

    python benchmarks/loop_overhead.py

The bare loop is what a careful person writes: one jitted, donated call of the very same ``train_step`` a step, rows
gathered on the device, the loss fetched every 50 steps. dlrun's loop also logs, checks that numbers are finite, watches
for signals and counts; both train the same epochs from the same state, alternating, and the median ratio is printed.
"""

import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax

from dlrun.config import composition, plan
from dlrun.data import batches
from dlrun.program import devices, setup, step
from dlrun.program.compiled import CompiledProgram
from dlrun.train.loop import Loop
from dlrun.train.position import Position
from dlrun.train.signals import Stop
from dlrun.train.single import SingleState
from dlrun.train.training_run import TrainingRun

LARGE = "data=fashion_mnist model.widths=[512,512] norm=none batch_size=128 optim=adam"
CASES = {
    "MLP 784-512-512-10, batch 128, Fashion-MNIST": LARGE,
    "MLP 64-256-256-10, batch 64, digits": "optim=adam norm=none",
    "CNN, batch 64, digits": "model=cnn",
}


class Silent:
    """A progress display that shows nothing."""

    def __getattr__(self, name):
        return lambda *_, **__: None


def main(repeats: int) -> None:
    for name, words in CASES.items():
        hydra = composition.loader([])
        values = composition.plain(composition.compose(hydra, [*words.split(), "eval.every=1000epochs"])[0])[0]
        checked = plan.plan(values)
        devices.initialize(checked.settings)
        made = setup.prepare(checked)
        folder = Path(tempfile.mkdtemp())
        run, state = TrainingRun(made, folder, Silent()), SingleState(made, CompiledProgram(made))
        with Stop() as stop:
            loop = Loop([run], state, stop, lambda run: None)
            loop.begin()
            steps = min(3 * made.steps_per_epoch, 600)
            bare_step = jax.jit(partial(bare, made.program, made.graphdef), donate_argnums=0)
            ours, theirs = [], []
            for _ in range(repeats + 1):
                theirs.append(bare_loop(made, state, bare_step, steps))
                ours.append(our_loop(loop, run, state, steps))
        shutil.rmtree(folder)
        ratio = statistics.median(a / b for a, b in zip(ours[1:], theirs[1:], strict=True))
        mine, other = statistics.median(ours[1:]) / steps * 1e3, statistics.median(theirs[1:]) / steps * 1e3
        print(
            f"{name}: dlrun {mine:.3f} ms a step, bare loop {other:.3f} ms, overhead {100 * (ratio - 1):+.1f}%",
            flush=True,
        )


def bare(program, graphdef, state, data, index):
    state, metrics = step.train_step(program, graphdef, state, step.take(data, index))
    return state, metrics["sum"]["loss"]


def bare_loop(made, single: SingleState, bare_step, steps: int) -> float:
    state, feed = single.compiled.start(made.plan), single.feed(0)
    jax.block_until_ready(state)
    began = time.perf_counter()
    for i in range(steps):
        epoch, offset = divmod(i, made.steps_per_epoch)
        if offset == 0:
            order = batches.shuffled(feed.rows["train"], made.plan.settings.batch_size, seed=0, epoch=epoch)
        state, loss = bare_step(state, feed.table, order[offset])
        if i % 50 == 49:
            float(loss)
    jax.block_until_ready(state)
    return time.perf_counter() - began


def our_loop(loop: Loop, run: TrainingRun, single: SingleState, steps: int) -> float:
    single.start({0: None})
    run.at, run.logged = Position(), 0
    run.timetable = replace(run.timetable, total=steps)
    jax.block_until_ready(single.state(0))
    began = time.perf_counter()
    while run.at.step < steps:
        loop.advance()
        loop.log([run] if run.logs else [])
    jax.block_until_ready(single.state(0))
    return time.perf_counter() - began


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
