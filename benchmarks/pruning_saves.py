"""How much training pruning saves in a search, and what it costs in the result.

    python benchmarks/pruning_saves.py [trials a search] [searches]

The same random points are trained to the end, and by each pruner: an MLP on digits whose learning rate, width,
activation and dropout are searched, 27 epochs, evaluated at each. For each pruner the share of all optimizer steps that
was not taken, and the difference in the best validation loss, are printed, then the medians over the searches.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PRUNERS = ("none", "median", "halving", "hyperband")
SPACE = (
    "optim.lr=tag(log, interval(1e-5, 1e-1))", "model.widths=choice([16],[32],[64])", "act=relu,gelu,tanh",
    "dropout=interval(0, 0.5)", "epochs=27", "checkpoint.metric=val/loss", "log.plot=false",
)  # fmt: skip


def searched(folder: Path, pruner: str, trials: int, seed: int) -> tuple[int, float]:
    """The steps that a search took, and its best validation loss."""
    sweeper = {"sampler": "random", "n_trials": trials, "batch": 9, "pruner": pruner, "seed": seed}
    words = [*SPACE, *(f"hydra.sweeper.{key}={value}" for key, value in sweeper.items()), f"hydra.sweep.dir={folder}"]
    command = [sys.executable, "-m", "dlrun", "-m", "hydra/sweeper=optuna", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    steps, losses = 0, []
    for file in folder.glob("*/metrics.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        steps += max(row["step"] for row in rows)
        losses += [row["loss"] for row in rows if row["split"] == "val"]
    return steps, min(losses)


def main(trials: int, searches: int) -> None:
    saved, lost = {p: [] for p in PRUNERS[1:]}, {p: [] for p in PRUNERS[1:]}
    with tempfile.TemporaryDirectory() as root:
        for seed in range(searches):
            found = {p: searched(Path(root) / f"{p}-{seed}", p, trials, seed) for p in PRUNERS}
            whole, best = found["none"]
            print(f"search {seed}: {whole} steps without pruning, best loss {best:.4f}")
            for pruner in PRUNERS[1:]:
                steps, loss = found[pruner]
                saved[pruner].append(1 - steps / whole)
                lost[pruner].append(loss - best)
                print(f"  {pruner:9}  {saved[pruner][-1]:6.1%} of the steps saved, best loss {loss:.4f}")
    for pruner in PRUNERS[1:]:
        share, worse = statistics.median(saved[pruner]), statistics.median(lost[pruner])
        same = sum(difference <= 0 for difference in lost[pruner])
        print(f"{pruner}: {share:.1%} saved, best loss {worse:+.4f}; the same best in {same} of {searches} searches")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [27, 5][len(given) :]))
