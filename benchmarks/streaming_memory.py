"""How much memory a streamed run takes on data that does not fit, and how fast it is beside a resident one.

    python benchmarks/streaming_memory.py [MB of data] [MB allowed]

Random 32x32 colour images and labels lie in .npy files; an MLP trains on all of them once. Three runs, each a process
of its own: on a sliver of the data, which shows what the program takes by itself; on the whole, streamed; on the whole,
resident. Memory is what the process keeps in RAM apart from pages mapped from files, which the system takes back as it
likes (RssAnon in /proc/self/status, the largest value seen); what a run takes beyond the first one's is its data.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SHAPE = (32, 32, 3)
BATCH = 256
WORDS = (
    "data=arrays", "model.widths=[256]", "optim=sgd", "norm=none", "epochs=1", f"batch_size={BATCH}", "log.plot=false",
    "split.val=1000", "split.test=1000", "checkpoint.keep=1",
)  # fmt: skip

# Runs dlrun and prints the largest RssAnon seen, in bytes, after what dlrun prints.
MEASURED = """
import sys, threading, time
from pathlib import Path
from dlrun.cli.main import main

def anonymous():
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("RssAnon"))
    return 1024 * int(line.split()[1])

peak = 0
def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.005)

threading.Thread(target=watch, daemon=True).start()
code = main(sys.argv[1:])
print(peak)
sys.exit(code)
"""


def generate(folder: Path, megabytes: float) -> None:
    """Random images, and labels that one of their pixels tells."""
    n = int(megabytes * 1e6 / np.prod(SHAPE))
    folder.mkdir()
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.uint8, (n, *SHAPE))
    random = np.random.default_rng(0)
    for start in range(0, n, 10_000):
        x[start : start + 10_000] = random.integers(0, 256, x[start : start + 10_000].shape, np.uint8)
    np.save(folder / "y.npy", x[:, 0, 0, 0] // 26)
    x.flush()


def measure(folder: Path, *words: str) -> tuple[int, float]:
    """Largest memory in bytes, and images a second, of a run."""
    command = [sys.executable, "-c", MEASURED, *WORDS, f"data.path={folder}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    *_, directory, peak = done.stdout.splitlines()
    run = json.loads((Path(directory) / "run.json").read_text())
    return int(peak), BATCH * run["steps_per_second"]


def main(data: float, allowed: float) -> None:
    with tempfile.TemporaryDirectory() as place:
        small, whole = Path(place, "small"), Path(place, "whole")
        generate(small, 8 * BATCH * np.prod(SHAPE) / 1e6 + 8)
        generate(whole, data)
        output = f"hydra.run.dir={place}/runs/"
        memory = f"stream.memory={allowed / 1000}"
        base, _ = measure(small, output + "small", "stream.when=always")
        for name, words in (("streamed", [memory]), ("resident", ["stream.when=never"])):
            peak, rate = measure(whole, output + name, *words)
            print(f"{name}: {(peak - base) / 1e6:.0f} MB for {data:.0f} MB of data, {rate:.0f} images/s", flush=True)


if __name__ == "__main__":
    main(*[float(word) for word in [*sys.argv[1:], *("2048", "512")[len(sys.argv) - 1 :]]])
