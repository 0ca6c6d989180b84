"""How long ``dlrun compare`` takes on many run directories: the first time, and again.

    python benchmarks/compare_loading.py [RUNS ...]

Directories of 100 metric rows each, as a sweep of 8 learning rates, 5 activations and many seeds leaves them. Each look
is a whole process with a cache folder of the benchmark's: its seconds, of the processor and by the clock, and the peak
of its memory. ``rows`` asks for ``--at min``, for which all metrics.jsonl are parsed the first time. Files are in the
system's cache: the disk is not what is measured.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ACTS = ("relu", "gelu", "tanh", "elu", "mish")


def make(root: Path, runs: int) -> None:
    """Writes so many run directories like real ones."""
    options = {"norm": "batch", "init": "auto", "schedule": "warmup_cosine", "data": "digits", "loss": "auto"}
    config = {"epochs": 50, "steps": None, "batch_size": 64, "precision": "float32", "dropout": 0.0, "ema": None}
    config |= {name: {"name": option, **{f"key{i}": i / 8 for i in range(4)}} for name, option in options.items()}
    config |= {"log": {"every": 50, "sinks": [], "plot": False}, "split": {"val": 0.1, "test": 0.2, "seed": 0}}
    config |= {"model": {"name": "mlp", "widths": [16, 16]}, "checkpoint": {"metric": None, "mode": None}}
    facts = {f"fact{i}": "a word or two" for i in range(12)} | {"versions": {f"package{i}": "1.2.3" for i in range(10)}}
    confusion = {"confusion": [[i * j for i in range(10)] for j in range(10)]}
    confusion["per_class"] = {k: {str(i): i / 7 for i in range(10)} for k in ("precision", "recall", "f1", "support")}
    for number in range(runs):
        folder = root / f"sweep{number // 1000}" / str(number % 1000)
        folder.mkdir(parents=True)
        lr, act, seed = 10 ** -(1 + number % 8 / 2), ACTS[number // 8 % 5], number // 40
        values = {"seed": seed, **config, "optim": {"name": "adamw", "lr": lr}, "act": {"name": act}}
        run = {"format": 1, "status": "completed", "seed": seed, "config": values, "seconds": 9.5, **facts}
        rows, value = [], 0.0
        for step in range(50):
            value = 1 - 1 / (2 + step + seed % 7)
            shared = {
                "step": 20 * step,
                "epoch": float(step),
                "loss": 1 - value / 3,
                "accuracy": value,
                "time": step / 9,
            }
            rows += [
                {**shared, "split": "train", "grad_norm": 0.9, "lr": lr},
                {**shared, "split": "val", "macro_f1": 0.5},
            ]
        summary = {"status": "completed", "metric": "val/accuracy", "mode": "max", "best/step": 980}
        for key in ("train/loss", "train/accuracy", "val/loss", "test/loss", "test/accuracy", "best/val/loss"):
            summary[key] = value / 3
        summary |= {"val/accuracy": value, "best/val/accuracy": value}
        (folder / "run.json").write_text(json.dumps(run, indent=2))
        (folder / "summary.json").write_text(json.dumps(summary | confusion, indent=2))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def look(root: Path, cache: Path, at: str) -> str:
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "dlrun", "compare", str(root), "--at", at, "--limit", "20"],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.DEVNULL,
    )
    _, code, used = os.wait4(process.pid, 0)
    whole = time.perf_counter() - start
    assert code == 0
    return f"{whole:6.2f} s  (processor {used.ru_utime + used.ru_stime:5.2f} s)  {used.ru_maxrss / 1024:4.0f} MB"


def main(sizes: list[int]) -> None:
    for runs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            root, cache = Path(folder, "outputs"), Path(folder, "cache")
            make(root, runs)
            time.sleep(1.5)  # younger files are not kept
            for name, at in (("cold", "best"), ("again", "best"), ("rows", "min"), ("again", "min")):
                print(f"{runs:6} runs  {name:5}  {look(root, cache, at)}", flush=True)
            print(f"        cache {sum(f.stat().st_size for f in cache.rglob('*.sqlite')) / 1e6:.1f} MB")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [20, 100, 1000, 10_000])
