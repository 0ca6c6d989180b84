"""Whatever lies in a run directory, the tools that read it answer, or say in a line why not."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

ODD = [
    None, True, False, 0, -1, 3.5, 1e-300, 1e300, 10**400, -0.0, float("nan"), float("inf"), "", "x" * 300, "a\nb",
    "\x1b[31m", "é–", "=,and or", "'\"", "</script>", "nan", [], {}, [1, [2, {"a": None}]], {"b": {"c": [1]}},
]  # fmt: skip
COMPARE = [
    [], ["--group-by", "act"], ["--format", "csv"], ["--format", "json"],
    ["--format", "md", "--group-by", "act,optim.lr"],
    ["--format", "latex", "--group-by", "act"], ["--paths"], ["--best"], ["--all-columns"],
    ["--until", "val/accuracy=0.8"], ["--metric", "val/loss,val/accuracy", "--at", "min"], ["--at", "step=10"],
    ["--sort", "act"], ["--sort", "seed", "--reverse"], ["--where", "act=relu or seed<2"],
    ["--columns", "act,seed,val/loss,command"],
]  # fmt: skip
DRAWN = [["--plot", "curves.png"], ["--report", "report.html"]]


def write(rng: random.Random, number: int) -> None:
    """A run directory with values of any kind in any place."""

    def odd(*sound: Any, often: int = 4) -> Any:
        return rng.choice(ODD) if rng.randrange(often) == 0 else rng.choice(sound)

    folder = Path("outputs", rng.choice([f"{number}", f"a b{number}", f"é\t{number}", f"sweep{number % 3}/{number}"]))
    folder.mkdir(parents=True)
    config = {
        "seed": odd(0, 1, 2),
        "act": {"name": odd("relu", "gelu")},
        "optim": {"name": "adamw", "lr": odd(0.1, 0.01)},
    }
    config |= {rng.choice(["x", "y.z", "data", "model"]): rng.choice(ODD) for _ in range(rng.randrange(3))}
    run = {"format": 1, "status": rng.choice(["completed"] * 6 + ["running", "failed", "diverged", "odd", ""])}
    run |= {"config": odd(config, often=10), "command": odd(["dlrun", "act=gelu"]), "seconds": odd(5.0)}
    run |= {key: odd(7) for key in ("seed", "steps_per_second", "start", "end", "classes", "git", "parameters")}
    summary = {"status": "completed", "metric": odd("val/accuracy"), "mode": odd("max"), "best/step": odd(20)}
    summary |= {"best/val/accuracy": odd(0.9, 0.8, 0.7), "val/accuracy": odd(0.9, 0.8), "val/loss": odd(0.1)}
    summary |= {"test/accuracy": odd(0.5), "confusion": odd([[1, 0], [0, 1]]), "per_class": odd({})}
    rows = [
        {
            "step": odd(10 * i),
            "split": odd("val", "train", "test"),
            "time": odd(i),
            "loss": odd(1.0),
            "accuracy": odd(0.5),
        }
        for i in range(rng.randrange(6))
    ]
    (folder / "run.json").write_text(json.dumps(run))
    if rng.randrange(10):
        (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def looked_at(dlrun: Any, seed: int, commands: list[list[str]]) -> None:
    rng = random.Random(seed)
    shutil.rmtree("outputs", ignore_errors=True)
    for number in range(rng.randrange(1, 12)):
        write(rng, number)
    runs = sorted(str(file.parent) for file in Path("outputs").rglob("run.json"))
    tools = [["compare", *words] for words in commands]
    tools += [["ls"], ["prune", "--keep", "best"], ["show-run", runs[0]], ["diff", runs[0], runs[-1]]]
    for words in tools:
        outcome = dlrun("--debug", *words)  # what nobody expected is raised
        assert outcome.code in ((0, 1, 2) if words[0] == "diff" else (0, 2)), (seed, words, outcome.err)
        assert (outcome.code == 2) == ("error: " in outcome.err), (seed, words, outcome.err)
        if words[-1] == "json" and outcome.code == 0:
            json.loads(outcome.out)
        elif words[-1] != "csv":  # which gives values as they are
            assert "\x1b" not in outcome.out, (seed, words)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))


def test_odd_values_anywhere(dlrun):
    for seed in range(30):
        looked_at(dlrun, seed, random.Random(seed).sample(COMPARE, 6))


@pytest.mark.slow
def test_odd_values_anywhere_for_long(dlrun):
    for seed in range(100, 200):
        looked_at(dlrun, seed, COMPARE + (DRAWN if seed % 5 == 0 else []))
