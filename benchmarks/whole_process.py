"""How long a whole run takes, from shell to summary, and where the time goes.

    python benchmarks/whole_process.py [repeats]

Runs commands as processes of their own and prints the median wall time, cold (no compilation cache) and warm; then
one run within this process, split into its phases.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The model, batch size and length of the Lightning/Hydra template.
FASHION = ["data=fashion_mnist", "split.val=5000", "optim=adam", "model.widths=[64,128,64]", "batch_size=128"]
COMMANDS = {
    "default (MLP on digits, 30 epochs)": [],
    "MLP 64-128-64 on Fashion-MNIST, 5 epochs": [*FASHION, "epochs=5"],
}


def process(words: list[str], cache: Path) -> float:
    """Seconds of one ``dlrun`` process."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "dlrun", *words], cwd=folder, check=True, capture_output=True,
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        )  # fmt: skip
        return time.perf_counter() - began


def phases(words: list[str]) -> None:
    """Prints the seconds of each phase of a run in this process; an import counts in the phase that needs it first."""
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        print(f"    {name:<28}{now - last:6.2f} s")
        last = now

    from dlrun.config import composition

    lap("import Hydra")
    hydra = composition.loader([])
    cfg, _ = composition.compose(hydra, words)
    values, _ = composition.plain(cfg)
    lap("compose")
    import jax

    from dlrun.config import plan
    from dlrun.program import devices, setup

    lap("import JAX, Flax, Optax")
    checked = plan.plan(values)
    lap("check")
    devices.initialize(checked.settings)
    checked.choices["data"]()
    lap("read the data")
    made = setup.prepare(checked)
    lap("read again, cut, trace")
    from dlrun.display.terminal import TerminalProgress
    from dlrun.program.compiled import CompiledProgram
    from dlrun.train.loop import train
    from dlrun.train.signals import Stop
    from dlrun.train.single import SingleState
    from dlrun.train.training_run import TrainingRun

    folder = Path(tempfile.mkdtemp())
    original = SingleState.start

    def start(self, saved):
        jax.block_until_ready(self.feed(0).table)
        lap("data to the device")
        original(self, saved)
        jax.block_until_ready(self.state(0))
        lap("compile and run init")

    SingleState.start = start
    with Stop() as stop, TerminalProgress() as progress:
        train([TrainingRun(made, folder, progress, pictures=False)], SingleState(made, CompiledProgram(made)), stop)
    lap("compile step, train, save")
    from dlrun.display import figures
    from dlrun.runs import rundir

    lap("import Matplotlib")
    figures.draw(rundir.read_metrics(folder), folder / "curves.png")
    lap("draw curves")
    shutil.rmtree(folder)


def main(repeats: int) -> None:
    for name, words in COMMANDS.items():
        with tempfile.TemporaryDirectory() as cache:
            cold = process(words, Path(cache))
            warm = [process(words, Path(cache)) for _ in range(repeats)]
        print(
            f"{name}: cold {cold:.1f} s, warm {statistics.median(warm):.2f} s ({min(warm):.2f} to {max(warm):.2f})",
            flush=True,
        )
    phases([*FASHION, "epochs=5"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
