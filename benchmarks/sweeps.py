"""What a sweep costs, whole processes: against one process a run, and against one run after the other in a process.

    python benchmarks/sweeps.py [runs that are timed alone]

The second is what Hydra's basic launcher does (without its composing each run twice): every run is composed, checked,
traced and trained by itself, programs compiled before found in the cache. Times of all ways with warm compilation
caches; those of runs alone are of a few, times the number of runs.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FASHION = ["data=fashion_mnist", "model.widths=[128,64]", "epochs=2", "batch_size=128", "log.plot=false"]
DIGITS = ["model.widths=[32]", "epochs=30", "log.plot=false"]
CASES = {
    "Fashion-MNIST, MLP, 2 epochs, 4 seeds x 2 learning rates": (FASHION, ["optim.lr=1e-3,3e-3", "seed=range(0,4)"], 8),
    "digits, MLP, 30 epochs, 8 learning rates x 8 seeds": (
        DIGITS,
        ["optim.lr=1e-4,3e-4,1e-3,2e-3,3e-3,5e-3,1e-2,2e-2", "seed=range(0,8)"],
        64,
    ),
}
ONE_PROCESS = """
import sys
from dlrun.cli.main import main
for seed in range(int(sys.argv[1])):
    assert main([*sys.argv[2:], f"seed={seed}", f"optim.lr={1e-3 * (1 + seed)}"]) == 0
"""


def timed(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    subprocess.run(command, check=True, cwd=folder, env=environment, capture_output=True)
    return time.perf_counter() - began


def main(alone: int) -> None:
    dlrun = [sys.executable, "-m", "dlrun"]
    for name, (base, swept, runs) in CASES.items():
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root)
            cold = timed([*dlrun, "-m", *base, *swept], folder)
            timed([*dlrun, *base], folder)
            sweep, process, inside = [], [], []
            for i in range(3):
                sweep.append(timed([*dlrun, "-m", *base, *swept], folder))
                process.append(timed([*dlrun, *base, f"seed={i}"], folder) * runs)
                many = timed([sys.executable, "-c", ONE_PROCESS, str(alone), *base], folder)
                first = timed([sys.executable, "-c", ONE_PROCESS, "1", *base], folder)
                inside.append(first + (many - first) / (alone - 1) * (runs - 1))
        took, processes, one = map(statistics.median, (sweep, process, inside))
        print(f"{name}: {runs} runs in {took:.1f} s (cold {cold:.1f} s)")
        print(f"  one process a run: {processes:.0f} s, {processes / took:.1f} times as long")
        print(f"  one after the other in a process: {one:.0f} s, {one / took:.1f} times as long", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
