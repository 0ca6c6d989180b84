"""``dlrun compare``: the numbers it prints against scipy's by hand, and every flag."""

import csv
import importlib
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from scipy.special import expit, logit

from dlrun.cli.flags import TOOLS
from dlrun.runs import atomic, rundir
from dlrun.runs.loading import load
from tests.conftest import Outcome
from tests.runs.test_loading import SUMMARY, made

GELU, RELU = (0.90, 0.91, 0.89, 0.92), (0.93, 0.95, 0.92, 0.94)
BEST_FIRST = [f"outputs/{r}" for r in ("relu1", "relu3", "relu0", "gelu3", "relu2", "gelu1", "gelu0", "gelu2")]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))


def trained(name: str, accuracy: float | None = 0.9, test: float | None = None, **changes: Any) -> Path:
    """A run that came to some accuracy."""
    summary = SUMMARY | {"best/val/accuracy": accuracy, "val/accuracy": accuracy, "val/macro_f1": accuracy}
    rows = [{"step": s, "split": "val", "time": s / 10, "accuracy": v} for s, v in ((10, 0.5), (20, accuracy))]
    return made(name, summary=summary | {"test/accuracy": accuracy if test is None else test}, rows=rows, **changes)


def sweep(values: dict[str, tuple[float, ...]], **changes: Any) -> None:
    """Runs of activations, each with seeds 0, 1, …"""
    for act, accuracies in values.items():
        for seed, accuracy in enumerate(accuracies):
            trained(f"{act}{seed}", accuracy, act__name=act, seed=seed, **changes)


def records(outcome: Outcome) -> list[dict[str, str]]:
    assert outcome.code == 0, outcome.err
    return list(csv.DictReader(io.StringIO(outcome.out)))


def test_the_question_that_it_is_for(dlrun):
    sweep({"gelu": GELU, "relu": RELU})
    outcome = dlrun("compare")
    assert outcome.code == 0
    assert outcome.err == ""
    runs, groups, verdicts, methods = outcome.out.split("\n\n")
    head, *lines = runs.splitlines()
    assert head.split() == ["run", "status", "act", "seed", "val/accuracy", "steps/s", "time"]
    assert [line.split()[0] for line in lines] == BEST_FIRST
    assert "relu  4  0.935 ± 0.013  0.911 … 0.953  0.9500  0.9200" in groups
    paired = stats.ttest_rel(RELU, GELU)
    low, high = paired.confidence_interval()
    mean, half = sum(RELU) / 4 - sum(GELU) / 4, (high - low) / 2
    assert verdicts == (
        "val/accuracy:\n"
        f"  relu beats gelu by {100 * mean:.1f} ± {100 * half:.1f} points "
        f"(paired over 4 seeds, p = {paired.pvalue:.1g})"
    )
    assert methods.startswith("methods: paired t (scipy.stats.ttest_rel)")
    differences = [b - a for a, b in zip(GELU, RELU, strict=True)]
    assert groups.splitlines()[1].split()[-1] == f"{stats.tmean(differences) / stats.tstd(differences):.1f}"


def test_numbers_of_groups_are_those_of_scipy(dlrun):
    sweep({"gelu": GELU, "relu": RELU, "tanh": (0.5, 0.7, 0.6)})
    rows = {row["group"]: row for row in records(dlrun("compare", "--format", "csv", "--group-by", "act"))}
    assert list(rows) == ["relu", "gelu", "tanh"]
    for name, values in {"relu": RELU, "gelu": GELU, "tanh": (0.5, 0.7, 0.6)}.items():
        mean = stats.tmean(values)
        odds = stats.t.interval(0.95, len(values) - 1, logit(mean), stats.sem(values) / (mean * (1 - mean)))
        interval = expit(odds)
        expected = {
            "n": len(values), "val/accuracy mean": stats.tmean(values), "val/accuracy std": stats.tstd(values),
            "val/accuracy min": min(values), "val/accuracy max": max(values),
            "val/accuracy 95% low": interval[0], "val/accuracy 95% high": interval[1],
        }  # fmt: skip
        assert {k: float(rows[name][k]) for k in expected} == pytest.approx(expected, rel=1e-9)
    tests = {"relu": stats.ttest_rel(RELU, GELU), "tanh": stats.ttest_rel((0.5, 0.7, 0.6), GELU[:3])}
    smaller, larger = sorted(test.pvalue for test in tests.values())
    corrected = {smaller: min(2 * smaller, 1.0), larger: max(2 * smaller, larger)}
    for name, test in tests.items():
        row = rows[name]
        assert row["val/accuracy method"] == "paired t"
        assert float(row["val/accuracy p"]) == pytest.approx(test.pvalue)
        assert float(row["val/accuracy corrected"]) == pytest.approx(corrected[test.pvalue])
        interval = test.confidence_interval()
        assert float(row["val/accuracy difference 95% low"]) == pytest.approx(interval.low)
        assert float(row["val/accuracy difference 95% high"]) == pytest.approx(interval.high)
    assert rows["gelu"]["val/accuracy p"] == ""


def test_pairs_match_in_all_else(dlrun):
    # Norms matter far more than activations: only pairs within a norm show the small difference.
    for i, norm in enumerate(("batch", "layer", "none")):
        for seed in range(3):
            for act, better in (("gelu", 0.0), ("relu", 0.01 + 0.001 * seed + 0.002 * i)):
                value = 0.5 + 0.15 * i + better
                trained(f"{norm}{seed}{act}", value, norm__name=norm, act__name=act, seed=seed)
    rows = records(dlrun("compare", "--group-by", "act", "--format", "csv", "--baseline", "gelu"))
    (row,) = [row for row in rows if row["group"] == "relu"]
    assert float(row["val/accuracy difference"]) == pytest.approx(0.013)
    assert float(row["val/accuracy p"]) == pytest.approx(stats.ttest_1samp([0.012, 0.013, 0.014], 0).pvalue)
    assert (row["n"], row["runs"]) == ("3", "9")
    outcome = dlrun("compare", "--group-by", "act", "--baseline", "gelu")
    assert "paired over 3 seeds" in outcome.out
    assert (
        "runs with the same seed differ in norm and count once, by their mean; n, ± and intervals are over seeds"
        in outcome.out
    )
    assert outcome.out.split()[:3] == ["act", "n", "runs"]
    shutil.rmtree("outputs/none2relu")
    assert "1 run without a partner" in dlrun("compare", "--group-by", "act", "--baseline", "gelu").out
    for path in Path("outputs").glob("*2*"):
        shutil.rmtree(path)
    outcome = dlrun("compare", "--group-by", "act,norm", "--baseline", "act=gelu and norm=layer")
    assert "runs with the same seed" not in outcome.out
    assert "5 groups have fewer than 3 seeds to compare with act=gelu norm=layer, which is too few" in outcome.out
    outcome = dlrun("compare", "--where", "act=gelu", "--baseline", "none")
    assert outcome.out.count("2 seeds are too few to compare") == 2
    assert outcome.out.splitlines()[0].endswith("  − none")  # neither p nor the size of an effect


def test_what_groups_differ_in_beside_is_said(dlrun):
    def line(**rates: tuple[float, ...]) -> str:
        shutil.rmtree("outputs", ignore_errors=True)
        for act, values in {"gelu": GELU, "relu": RELU}.items():
            for seed, value in enumerate(values):
                for i, lr in enumerate(rates[act]):
                    trained(
                        f"{act}{seed}{lr}", value + i / 100 + seed * i / 1000, act__name=act, seed=seed, optim__lr=lr
                    )
        (found,) = [line for line in dlrun("compare", "--group-by", "act").out.splitlines() if "paired over" in line]
        return found

    apart = "(paired over 4 seeds, p = 0.005); the groups also differ in optim.lr: "
    assert line(gelu=(0.01,), relu=(0.001,)).endswith(f"{apart}0.001 against 0.01")
    assert line(gelu=(0.1,) * 1, relu=(0.001, 0.01)).endswith(" optim.lr: 0.001, 0.01 against 0.1")
    assert line(gelu=(0.1,), relu=(1.0, 2.0, 3.0, 4.0, 5.0)).endswith(" optim.lr: 5 values against 0.1")
    both = line(gelu=(0.01, 0.1), relu=(0.01, 0.001))
    assert both.endswith("left out: 8 runs without a partner; compared only where both have optim.lr=0.01")
    assert "differ" not in line(gelu=(0.01, 0.1), relu=(0.01, 0.1))
    for folder in Path("outputs").iterdir():  # split.seed of one group alone
        run = json.loads((folder / "run.json").read_text())
        run["config"]["split"] = {"seed": int(folder.name.startswith("gelu"))}
        (folder / "run.json").write_text(json.dumps(run))
    out = dlrun("compare", "--group-by", "act").out
    assert "paired over 4 seeds" in out
    assert "; the groups also differ in split.seed: 0 against 1" in out


def recorded(pattern: str, **facts: Any) -> None:
    """Changes what run.json of some runs says beside their configuration; None takes a key away."""
    for folder in Path("outputs").glob(pattern):
        run = json.loads((folder / "run.json").read_text())
        for name, value in facts.items():
            *sections, last = name.split("__")
            inner = run
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[last] = value
            if value is None:
                del inner[last]
        atomic.write_json(folder / "run.json", run)


def test_other_data_versions_and_devices_are_said_and_pairs_stay(dlrun):
    def line() -> str:
        (found,) = [line for line in dlrun("compare", "--group-by", "act").out.splitlines() if "relu beats" in line]
        (verdict,) = json.loads(dlrun("compare", "--group-by", "act", "--format", "json").out)["verdicts"]
        assert verdict["text"] == found.strip()
        return found

    sweep({"gelu": GELU, "relu": RELU}, data__name="iris")
    plain = line()
    assert plain.endswith("(paired over 4 seeds, p = 0.005)")
    recorded("*", data="aaaa", versions={"jax": "1", "jaxlib": "1", "flax": "2", "dlrun": "3", "numpy": "4"})
    recorded("*", device="cpu: cpu", host="one", git=None)
    assert line() == plain
    recorded("relu*", host="two", git={"commit": "x"}, versions__numpy="5", threads=3)
    assert line() == plain
    recorded("relu*", data="bbbb")
    assert line() == f"{plain}; the groups were trained on other data"
    recorded("relu*", data=None)  # made before this was told
    assert line() == plain
    recorded("relu*", versions__jax="1.1", versions__jaxlib="1.1")
    assert line() == f"{plain}; the groups also differ in jax 1.1 against 1"
    recorded("relu0", versions__jaxlib="1.2")
    recorded("relu*", device="gpu: NVIDIA H200")
    told = "jax 1.1 against 1, jaxlib 1.1, 1.2 against 1, device gpu: NVIDIA H200 against cpu: cpu"
    assert line() == f"{plain}; the groups also differ in {told}"
    recorded("*", config__new=1)
    recorded("relu*", config__new=2)
    assert line() == f"{plain}; the groups also differ in new: 2 against 1, {told}"
    rows = records(dlrun("compare", "--where", "data=iris", "--columns", "data,data.digest", "--format", "csv"))
    assert {(row["data.name"], row["data.digest"]) for row in rows} == {("iris", "aaaa"), ("iris", "")}


def test_different_data_within_a_group_is_told(dlrun):
    note = "runs within a group were trained on different data, according to data.digest: "
    sweep({"gelu": GELU, "relu": RELU}, data__folder="one")
    recorded("*", data="aaaa")
    assert note not in dlrun("compare").out
    recorded("relu3", data="bbbb", config__data__folder="two")  # where it lies says nothing of what it is
    assert f"{note}relu\n" in dlrun("compare").out
    assert note in "".join(json.loads(dlrun("compare", "--format", "json").out)["notes"])
    assert f"{note}all\n" in dlrun("compare", "--where", "act=relu").out  # one group
    recorded("relu3", config__split__seed=7)  # the key tells it
    assert note not in dlrun("compare").out


def test_a_setting_that_older_runs_do_not_have_is_no_default(dlrun):
    def line(old: str = "relu*", **settings: Any) -> str:
        shutil.rmtree("outputs", ignore_errors=True)
        sweep({"gelu": GELU, "relu": RELU}, **settings)
        recorded(old, **{f"config__{key}": None for key in settings})
        (found,) = [line for line in dlrun("compare").out.splitlines() if "relu beats" in line]
        return found

    differ = "(paired over 4 seeds, p = 0.005); the groups also differ in "
    assert line(ema=0.9).endswith(f"{differ}ema: not recorded against 0.9")
    assert line("gelu*", ema=0.9).endswith(f"{differ}ema: 0.9 against not recorded")
    assert line(matmul_precision="tensorfloat32").endswith(
        f"{differ}matmul_precision: not recorded against tensorfloat32"
    )
    assert line(early_stop__patience=3).endswith(f"{differ}early_stop.patience: not recorded against 3")
    for settings in ({"ema": None}, {"deterministic": False}, {"optim__nesterov": 1}, {"stream__workers": 4}):
        assert line(**settings).endswith("(paired over 4 seeds, p = 0.005)")
    (found,) = json.loads(dlrun("compare", "--where", "act=relu", "--format", "json").out)["groups"]
    assert found["n"] == 4
    recorded("relu3", config__ema=0.9)
    assert "within groups, runs differ in ema as well as in seeds" in dlrun("compare", "--where", "act=relu").out
    recorded("gelu*", config__ema=0.9)
    assert "compared only where both have ema=0.9" in dlrun("compare", "--group-by", "act").out


def test_seeds_of_any_section_are_seeds(dlrun):
    for seed in range(3):
        for act in ("gelu", "relu"):
            trained(f"{act}{seed}", 0.9 + seed / 100, act__name=act, split__seed=seed)
    assert [row["n"] for row in records(dlrun("compare", "--format", "csv", "--group-by", "act"))] == ["3", "3"]
    assert "no difference: all values are equal (paired over 3 seeds)" in dlrun("compare").out


@pytest.mark.parametrize(
    ("splits", "n", "note"),
    [
        (
            2,
            "4",
            "runs with the same seed differ in split.seed and count once, by their mean; n, ± and intervals are "
            "over seeds",
        ),
        (3, "3", "runs share values of seed and split.seed; n counts the values of the one that has fewer"),
    ],
)
def test_each_seed_on_each_split(dlrun, splits: int, n: str, note: str):
    for i, act in enumerate(("gelu", "relu")):
        for seed in range(4):
            for split in range(splits):
                value = 0.5 + 0.1 * i + 0.01 * seed + 0.02 * split + 0.003 * i * ((3 * seed + split) % 4)
                trained(f"{act}{seed}{split}", value, act__name=act, seed=seed, split__seed=split)
    rows = records(dlrun("compare", "--group-by", "act", "--format", "csv"))
    assert [(row["n"], row["runs"]) for row in rows] == [(n, str(4 * splits))] * 2
    out = dlrun("compare", "--group-by", "act").out
    assert f"(paired over {n} seeds, p" in out
    assert f"\n\n{note}\n\n" in out


def test_without_pairs_welch(dlrun):
    for seed, (a, b) in enumerate(zip(GELU, RELU, strict=True)):
        trained(f"r{seed}", a, act__name="gelu", seed=seed)
        trained(f"g{seed}", b, act__name="relu", seed=seed + 100)
    (row,) = [r for r in records(dlrun("compare", "--group-by", "act", "--format", "csv")) if r["val/accuracy p"]]
    assert row["val/accuracy method"] == "Welch"
    expected = stats.ttest_ind(RELU, GELU, equal_var=False)
    assert float(row["val/accuracy p"]) == pytest.approx(expected.pvalue)


def test_only_completed_runs_are_averaged_and_the_others_are_shown(dlrun):
    sweep({"gelu": GELU, "relu": RELU})
    for status in ("diverged", "failed", "stopped", "pruned", "running"):
        made(f"bad_{status}", status=status, act__name="relu", seed=9)
    trained("damaged", act__name="gelu", seed=7)
    Path("outputs/damaged/summary.json").write_text("{")
    outcome = dlrun("compare")
    shown = {line.split()[0]: line.split()[1] for line in outcome.out.split("\n\n")[0].splitlines()[1:]}
    assert {k.removeprefix("outputs/bad_"): v for k, v in shown.items() if "bad" in k} == {
        "diverged": "diverged", "failed": "failed", "stopped": "stopped", "pruned": "pruned", "running": "killed",
    }  # fmt: skip
    assert shown["outputs/damaged"] == "damaged"
    assert list(shown)[:8] == BEST_FIRST
    rows = {row["group"]: row for row in records(dlrun("compare", "--format", "csv", "--group-by", "act"))}
    counts = {name: (row["n"], row["not counted"]) for name, row in rows.items()}
    assert counts == {"relu": ("4", "5"), "gelu": ("4", "1")}
    assert "1 diverged, 1 failed, 1 killed, 1 pruned, 1 stopped" in dlrun("compare", "--group-by", "act").out
    assert "; not counted: 1 damaged run of gelu, 1 diverged run of relu" in outcome.out
    assert dlrun("compare", "--best").out == "outputs/relu1\n"


def test_a_baseline_by_name_and_by_condition(dlrun):
    sweep({"gelu": GELU, "relu": RELU})
    sweep({"tanh": GELU, "elu": RELU}, optim__lr=0.1)
    by = ("compare", "--group-by", "act,optim.lr")
    for baseline, expected in {
        "act=relu optim.lr=0.01": "act=relu optim.lr=0.01",
        "act=tanh": "act=tanh optim.lr=0.1",
        "optim.lr=0.1 and act!=tanh": "act=elu optim.lr=0.1",
    }.items():
        assert json.loads(dlrun(*by, "--format", "json", "--baseline", baseline).out)["baseline"] == expected
    assert json.loads(dlrun(*by, "--format", "json").out)["baseline"] == "act=elu optim.lr=0.1"  # the first found
    for baseline, line in {
        "act=silu": "--baseline 'act=silu': matches no group; the groups: act=elu optim.lr=0.1, act=gelu",
        "optim.lr=0.1": "--baseline 'optim.lr=0.1': matches 2 groups: act=elu optim.lr=0.1, act=tanh optim.lr=0.1",
        "act=tanh optim.lr=0.2": "--baseline 'act=tanh optim.lr=0.2': 'optim.lr' after 'act=tanh': expected and, or",
        "acts=gelu": "--baseline 'acts=gelu': acts: no such column (did you mean 'act'?)",
        "seed=0": "--baseline 'seed=0': matches no group",
        "act=tanh optim.lr": "--baseline 'act=tanh optim.lr'",
        "tahn": "--baseline 'tahn': no such group",
    }.items():
        outcome = dlrun(*by, "--baseline", baseline)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith(f"error: {line}"), outcome.err
        assert outcome.err.count("\n") == 1


def test_groups_of_other_data_are_not_held_against_each_other(dlrun):
    sweep({"gelu": GELU, "relu": RELU}, data__name="digits")
    for seed, value in enumerate(GELU):
        trained(f"i{seed}", value, act__name="gelu", seed=seed, data__name="iris")
    outcome = dlrun("compare")
    assert "not compared, as they were trained on other data: act=gelu data=iris" in outcome.out
    assert outcome.out.count("beats") == 1
    assert "iris" not in dlrun("compare", "--where", "data=digits").out
    outcome = dlrun("compare", "--best")
    assert outcome.out == "outputs/relu1\n"
    assert outcome.err.startswith("notice: best by val/accuracy of runs on different data: digits, iris;")
    assert dlrun("compare", "--best", "--where", "data=iris").err == ""
    for keys in ("act,data", "data,act"):
        outcome = dlrun("compare", "--group-by", keys)
        assert "not compared, as they were trained on other data: " in outcome.out, "whatever the keys"
        assert outcome.out.count("paired over") == 1
    outcome = dlrun("compare", "--group-by", "data")
    assert "paired" not in outcome.out
    assert "not compared, as they were trained on other data: iris" in outcome.out


def test_a_group_of_several_data_sets_is_split(dlrun):
    for seed, value in enumerate(GELU):
        trained(f"i{seed}", value - 0.5, act__name="relu", seed=seed, data__name="iris")  # first, and alone
    sweep({"gelu": GELU, "relu": RELU}, data__name="digits")
    outcome = dlrun("compare", "--group-by", "act")
    assert "groups with runs of several data sets are split by data: a mean over them means nothing" in outcome.out
    assert "not compared, as they were trained on other data: act=relu data=iris\n" in outcome.out
    assert "act=relu beats act=gelu by 3.0" in outcome.out or "act=gelu loses to act=relu by 3.0" in outcome.out
    rows = {row["group"]: row for row in records(dlrun("compare", "--group-by", "act", "--format", "csv"))}
    assert list(rows) == ["act=relu data=digits", "act=gelu data=digits", "act=relu data=iris"]
    assert float(rows["act=relu data=digits"]["val/accuracy mean"]) == pytest.approx(stats.tmean(RELU))
    assert "split" not in dlrun("compare", "--group-by", "act", "--where", "data=digits").out


def test_columns_of_comparisons_where_there_are_none(dlrun):
    sweep({"gelu": GELU}, data__name="digits")
    sweep({"relu": RELU}, data__name="iris")
    outcome = dlrun("compare", "--group-by", "act", "--columns", "act,n,p,d")
    assert outcome.err == "--columns: no p, d, as nothing was compared\n"


def test_intervals_of_steps_and_seconds_are_not_below_0(dlrun):
    for seed, steps in enumerate((60, 880)):
        rows = [{"step": steps, "split": "val", "time": steps / 10, "accuracy": 0.9}]
        made(f"a{seed}", rows=rows, act__name="relu", seed=seed)
    words = ("compare", "--group-by", "act", "--until", "accuracy=0.9")
    (row,) = records(dlrun(*words, "--format", "csv"))
    high = stats.t.interval(0.95, 1, 470, stats.sem([60, 880]))[1]
    for unit, scale in (("steps", 1), ("seconds", 0.1)):
        assert float(row[f"{unit} to val/accuracy ≥ 0.9 95% low"]) == 0
        assert float(row[f"{unit} to val/accuracy ≥ 0.9 95% high"]) == pytest.approx(high * scale)
    assert "intervals 95% of steps and seconds: by Student's t, cut at 0" in dlrun(*words).out


def test_no_test_is_named_where_all_values_are_equal(dlrun):
    sweep(dict.fromkeys(("gelu", "relu", "tanh", "elu", "silu"), (0.9,) * 3))
    outcome = dlrun("compare", "--group-by", "act")
    assert outcome.out.count("no difference: all values are equal (paired over 3 seeds)") == 4
    assert "sign flips" not in outcome.out
    assert {
        row["val/accuracy method"] for row in records(dlrun("compare", "--format", "csv", "--group-by", "act"))
    } == {""}


def test_metrics_and_when(dlrun):
    made("a", act__name="gelu")
    made("b", act__name="relu", rows=[])
    columns = ["directory", "val/accuracy", "test/accuracy", "val/loss"]
    for at, expected in {
        "best": ("0.75", "0.7", "0.4"), "last": ("0.625", "0.7", "0.6"), "min": ("0.5", "0.7", "0.4"),
        "max": ("0.75", "0.7", "0.9"), "step=29": ("0.75", "0.7", "0.4"), "step=10": ("0.5", "", "0.9"),
        "step=31": ("", "", ""),
    }.items():  # fmt: skip
        metrics = ("--metric", "val/accuracy,test/accuracy", "--metric", "loss")
        found = records(dlrun("compare", *metrics, "--at", at, "--format", "csv"))
        row = next(row for row in found if row["directory"] == "outputs/a")
        assert [row[k] for k in row if k.startswith(tuple(columns[1:]))] == list(expected), at
    outcome = dlrun("compare", "--metric", "val/accuracy", "--at", "min")
    assert outcome.err == "no val/accuracy at min in 1 completed run:\n  outputs/b\n"
    words = ("--metric", "accuracy,val/accuracy", "--at", "best,last,best", "--format", "csv")
    several = records(dlrun("compare", *words))
    assert "no val/accuracy at step 99 in 2 completed runs:" in dlrun("compare", "--at", "step=99").err
    assert [name for name in several[0] if "accuracy" in name] == ["val/accuracy", "val/accuracy at last"]


def test_time_to_a_target(dlrun):
    sweep({"gelu": GELU, "relu": RELU})
    row = records(dlrun("compare", "--until", "val/accuracy=0.915", "--format", "csv"))[0]
    assert (row["steps to val/accuracy ≥ 0.915"], row["seconds to val/accuracy ≥ 0.915"]) == ("20.0", "2.0")
    outcome = dlrun("compare", "--until", "accuracy=0.5", "--group-by", "act")
    both = "steps to val/accuracy ≥ 0.5, seconds to val/accuracy ≥ 0.5:\n"  # of which the same is said
    assert both + "  relu against gelu: no difference: all values are equal" in outcome.out
    row = records(dlrun("compare", "--until", "val/accuracy=0.99", "--format", "csv"))[0]
    assert row["steps to val/accuracy ≥ 0.99"] == ""
    outcome = dlrun("compare", "--until", "accuracy=0.915,loss=1", "--until", "accuracy=0.915", "--group-by", "act")
    assert outcome.out.count("steps to val/accuracy ≥ 0.915") == 2  # in a head, and over the verdicts
    assert "20 (n=1)" in outcome.out
    assert "left out: 3 runs of gelu that did not reach it" in outcome.out
    rows = records(dlrun("compare", "--until", "accuracy=0.915", "--group-by", "act", "--format", "csv"))
    assert [row["steps to val/accuracy ≥ 0.915 n"] for row in rows] == ["4", "1"]


def test_selection_order_columns_limit_paths(dlrun):
    sweep({"gelu": GELU, "relu": RELU})
    paths = lambda *words: dlrun("compare", "--paths", *words).out.split()  # noqa: E731
    assert paths("--where", "act=gelu and seed<2") == ["outputs/gelu1", "outputs/gelu0"]
    assert paths("--sort", "seed", "--where", "act=gelu") == [f"outputs/gelu{i}" for i in range(4)]
    assert paths("--sort", "seed", "--reverse", "--where", "act=gelu") == [f"outputs/gelu{i}" for i in (3, 2, 1, 0)]
    assert paths("--sort", "act", "--limit", "1") == ["outputs/gelu0"]
    assert paths("--sort", "act", "--reverse", "--limit", "2") == ["outputs/relu0", "outputs/relu1"]
    assert paths("--reverse", "--limit", "1") == ["outputs/gelu2"]
    assert paths("--limit", "2") == ["outputs/relu1", "outputs/relu3"]
    assert paths("--where", "act=gelu or seed=0", "--where", "seed<1") == ["outputs/relu0", "outputs/gelu0"]
    assert paths("outputs/gelu2", "outputs/relu0") == ["outputs/relu0", "outputs/gelu2"]
    rows = records(
        dlrun("compare", "--columns", "act,seed,test/accuracy,git.commit", "--format", "csv", "--limit", "1")
    )
    assert rows == [{"act.name": "relu", "seed": "1", "test/accuracy": "0.95", "git.commit": "abc"}]
    shown = " ".join(dlrun("compare", "--columns", "act,seed", "--limit", "1").out.split())
    assert shown == "act seed relu 1 … 7 more runs (--limit all)"
    every = records(dlrun("compare", "--all-columns", "--format", "csv"))[0]
    assert {"optim.lr", "model.widths", "git.dirty", "epochs", "val/accuracy"} <= every.keys()
    assert json.loads(every["model.widths"]) == [16]


def test_formats_say_the_same(dlrun):
    sweep({"gelu": GELU, "relu": RELU, "a_b%&": (0.5, 0.6, 0.5, 0.6)})
    found = json.loads(dlrun("compare", "--format", "json").out)
    by_csv = records(dlrun("compare", "--format", "csv"))
    assert [row["directory"] for row in by_csv] == [row["directory"] for row in found["runs"]]
    assert [float(row["val/accuracy"]) for row in by_csv] == [row["val/accuracy"] for row in found["runs"]]
    assert [group["group"] for group in found["groups"]] == ["relu", "gelu", "a_b%&"]
    assert {v["group"]: v["method"] for v in found["verdicts"]} == {"relu": "paired t", "gelu": "paired t"}
    markdown = dlrun("compare", "--format", "md", "--group-by", "act").out
    lines = [line.split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    assert {len(line) for line in lines} == {9}
    assert lines[2][0] == "| relu"
    assert r"| a\_b%& |" in markdown
    assert "\n- relu beats a\\_b%& by" in markdown
    latex = dlrun("compare", "--format", "latex", "--group-by", "act").out.splitlines()
    assert latex[:8] == [
        r"\begin{tabular}{lrr}", r"\toprule", r"act & n & val/accuracy \\", r"\midrule",
        r"relu & 4 & \textbf{0.935 $\pm$ 0.013} \\", r"gelu & 4 & 0.905 $\pm$ 0.013 \\",
        r"a\_b\%\& & 4 & 0.550 $\pm$ 0.058 \\", r"\bottomrule",
    ]  # fmt: skip
    assert dlrun("compare", "--format", "latex").out.splitlines() == latex, "of groups, where a seed was repeated"
    assert all(line.startswith(("\\", "%", "relu", "gelu", "a\\_b", "act")) for line in latex)


def test_rows_of_groups_have_pairs_and_what_the_verdict_adds(dlrun):
    sweep({"gelu": GELU, "relu": RELU})
    for seed, value in enumerate(GELU, 10):
        trained(f"tanh{seed}", value, act__name="tanh", seed=seed)
    recorded("relu*", device="gpu: NVIDIA H200")
    recorded("gelu*", device="cpu: cpu")
    recorded("gelu3", status="failed")
    words = ("compare", "--baseline", "act=gelu", "--format")
    found = json.loads(dlrun(*words, "json").out)
    groups = {group["group"]: group for group in found["groups"]}
    notes = (
        "left out: 1 run without a partner; the groups also differ in device gpu: NVIDIA H200 against cpu: cpu; "
        "not counted: 1 failed run of gelu"
    )
    told = {name: (g["val/accuracy pairs"], g["val/accuracy notes"]) for name, g in groups.items()}
    expected = {"gelu": (None, None), "relu": (3, notes), "tanh": (None, "not counted: 1 failed run of gelu")}
    assert told == expected
    assert all(v["text"].endswith(f"; {told[v['group']][1]}") for v in found["verdicts"])
    rows = {row["group"]: row for row in records(dlrun(*words, "csv"))}
    of_csv = {name: (row["val/accuracy pairs"], row["val/accuracy notes"]) for name, row in rows.items()}
    assert of_csv == {name: tuple("" if v is None else str(v) for v in values) for name, values in told.items()}


def test_latex_can_be_typeset(dlrun):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex")
    sweep({"gelu": GELU, "a_b%&$#{}~^\\": RELU})
    text = dlrun("compare", "--format", "latex", "--group-by", "act").out
    Path("t.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{text}\end{{document}}"
    )
    assert subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], capture_output=True).returncode == 0


def test_one_run_a_group_and_one_group(dlrun):
    trained("a", 0.9, act__name="gelu")
    trained("b", 0.8, act__name="relu")
    assert "\n\n" not in dlrun("compare").out.strip()  # the runs alone
    assert "one run per group: to tell whether differences are real" in dlrun("compare", "--group-by", "act").out
    shutil.rmtree("outputs/b")
    trained("c", 0.8, act__name="gelu", seed=1)
    assert "all    2  0.850 ± 0.071" in dlrun("compare").out


def test_runs_that_have_no_metric_yet(dlrun):
    made("young", status="running", rows=[], act__name="gelu")
    made("younger", status="running", rows=[], act__name="relu")
    outcome = dlrun("compare")
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].split() == ["run", "status", "act", "steps/s", "time"]
    for words in (("--group-by", "act"), ("--format", "json"), ("--format", "csv"), ("--paths",)):
        assert dlrun("compare", *words).code == 0
    assert dlrun("compare", "--best").err == "error: --best: none of 2 runs completed with a metric\n"


def test_times_of_other_zones_are_in_order(dlrun):
    # By text c, a, d, b; by time b, d, a, c. The clocks were put back between d and a.
    starts = {"a": "2026-10-25T02:10:00+0100", "b": "2026-10-25T03:05:00+0300", "c": "2026-10-24T20:20:00-0500"}
    starts["d"] = "2026-10-25T02:40:00+0200"
    for i, (name, start) in enumerate(starts.items()):
        rundir.update_run(trained(name, 0.9, seed=i, optim__lr=float(i)), start=start, end=start)
    made("e", status="running", seed=9)
    for column in ("start", "end"):
        paths = dlrun("compare", "--paths", "--sort", column).out.split()
        assert [Path(path).name for path in paths] == ["b", "d", "a", "c", "e"]
        paths = dlrun("compare", "--paths", "--sort", column, "--reverse").out.split()
        assert [Path(path).name for path in paths] == ["c", "a", "d", "b", "e"]
        grouped = records(dlrun("compare", "--group-by", column, "--sort", column, "--format", "csv"))
        assert [row[column] for row in grouped][:4] == sorted(starts.values(), key=datetime.fromisoformat)
    for words in (("compare", "--paths"), ("ls",)):
        found = dlrun(*words, "--where", "start>2026-10-25T01:00Z").out
        assert [name for name in "abcde" if f"outputs/{name}" in found] == ["a", "c"], words
        outcome = dlrun(*words, "--where", "start>yesterday")
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith(
            "error: where: start: 'yesterday': not allowed; allowed: a time such as 2026-11-23"
        )


def test_what_can_be_wrong(dlrun):
    assert dlrun("compare").err == "error: outputs: no such folder\n"
    Path("outputs").mkdir()
    assert dlrun("compare").err == "error: no runs below outputs\n"
    sweep({"gelu": GELU, "relu": RELU})
    for words, line in {
        ("nowhere",): "nowhere: no such folder",
        ("--metric", "val/acuracy"): "val/acuracy: no such metric (did you mean 'val/accuracy'?); known: test/ac",
        ("--metric", "act"): "act: no such metric; known: test/accuracy, train/loss",
        ("--group-by", "actt"): "actt: no such column (did you mean 'act'?)",
        ("--columns", "sead"): "sead: no such column (did you mean 'seed'?)",
        ("--sort", "sead"): "sead: no such column (did you mean 'seed'?)",
        ("--where", "act=tanh"): "--where 'act=tanh': holds for none of 8 runs",
        ("--where", "act"): "where: the end after 'act': expected =",
        ("--at", "never"): "--at: 'never': not allowed; allowed: best, last, min, max, step=N",
        ("--at", "step=-1"): "--at: 'step=-1': not allowed",
        ("--until", "val/accuracy"): "--until: 'val/accuracy': not allowed; allowed: METRIC=NUMBER",
        ("--until", "val/accuracy=nan"): "--until: 'val/accuracy=nan': not allowed",
        ("--until", "speed=3"): "speed: no such metric",
        ("--group-by", "act", "--sort", "seed"): "--sort seed: not allowed; allowed of groups: act, val/accuracy",
        ("--columns", ""): "--columns: '': not allowed; allowed: names, separated by commas",
        ("--metric", "loss,"): "--metric: 'loss,': not allowed",
        ("--at", "best,lats"): "--at: 'lats': not allowed; allowed: best, last, min, max, step=N",
        ("--detect", "0"): "--detect: '0': not allowed; allowed: a number > 0",
        ("--limit", "0"): "--limit: '0': not allowed; allowed: a whole number >= 1, or all",
        ("--format", "xml"): "--format: invalid choice: 'xml'",
        ("--best", "--paths"): "--paths: not allowed with argument --best",
        ("--metrik", "loss"): "--metrik: unknown flag (did you mean '--metric'?)",
        ("--plot", "curves.gif"): "--plot curves.gif: not allowed; allowed: a file that ends in .png or .svg or .pdf",
        ("--plot", "no/curves.png"): "--plot no/curves.png: no such folder",
        ("--report", "report.txt"): "--report report.txt: not allowed; allowed: a file that ends in .html",
    }.items():
        outcome = dlrun("compare", *words)
        assert (outcome.code, outcome.out) == (2, ""), words
        assert outcome.err.startswith(f"error: {line}"), outcome.err
        assert outcome.err.count("\n") == 1, outcome.err
    assert sorted(os.listdir()) == [".cache", "outputs"]
    assert dlrun("act=gelu", "compare").code == 2


def test_damage_is_told_and_the_rest_compared(dlrun):
    sweep({"gelu": GELU, "relu": RELU})
    for i in range(7):
        made(f"torn{i}")
        Path(f"outputs/torn{i}/run.json").write_text("{")
    outcome = dlrun("compare", "--group-by", "act")
    assert outcome.code == 0
    assert outcome.err.splitlines()[0] == "skipped 7 folders:"
    assert outcome.err.splitlines()[-1] == "  … 2 more"
    assert "relu beats gelu" in outcome.out
    assert len(json.loads(dlrun("compare", "--format", "json").out)["skipped"]) == 7


def on_a_terminal(columns: int, *words: str) -> str:
    """What a terminal of that width is sent."""
    main, other = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color"}
    process = subprocess.Popen([sys.executable, "-m", "dlrun", *words], stdout=other, stderr=other, env=env)
    os.close(other)
    found = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        found += part
    os.close(main)
    assert process.wait(30) == 0, found
    return found.decode().replace("\r\n", "\n")


def test_a_terminal_has_as_many_columns_as_fit_and_a_pipe_all(shell):
    for lr in (0.1, 0.01, 0.001):
        for i, act in enumerate(("gelu", "relu", "tanh", "elu")):
            for seed in range(2):
                trained(f"{act}{seed}{lr}", 0.9 + i / 100 + seed / 1000, act__name=act, seed=seed, optim__lr=lr,
                        optim__name="a_rather_long_name_of_" + "an_optimizer_" * 4 + act)  # fmt: skip
    narrow = on_a_terminal(72, "compare")
    plain = narrow.replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\x1b[2m", "")
    assert max(map(len, plain.splitlines())) <= 72
    assert "below outputs:" in plain
    assert "no room for: " in plain
    assert "… 4 more runs (--limit all)" in plain
    assert "\x1b[1m" in narrow
    lines = re.sub("\x1b.*?m", "", on_a_terminal(50, "compare", "--group-by", "act,optim.lr")).splitlines()
    assert lines[0].split()[:3] == ["act", "optim.lr", "n"]  # what tells groups apart stays
    assert {line.split()[0] for line in lines[1:5]} == {"tanh", "elu"}
    assert "no room for: 95% interval" in " ".join(lines)
    piped = shell("compare")
    assert piped.code == 0
    assert "\x1b" not in piped.out
    assert "an_optimizer_an_optimizer_an_optimizer_an_optimizer_elu" in piped.out
    assert len(piped.out.split("\n\n")[0].splitlines()) == 25
    ascii_only = shell("compare", PYTHONIOENCODING="ascii")
    assert ascii_only.code == 0
    assert "+-" in ascii_only.out


def test_an_output_in_ascii_and_names_that_are_no_text(shell):
    sweep({"gelu": GELU, "relu": RELU})
    odd = os.fsencode("outputs/é") + b"\xff"
    shutil.copytree("outputs/relu0", os.fsdecode(odd))
    for encoding in ("ascii", "utf-8"):
        for words in (("csv",), ("json",), ("md", "--group-by", "act"), ("latex", "--group-by", "act"), ("table",)):
            outcome = shell("compare", "--until", "accuracy=0.9", "--format", *words, PYTHONIOENCODING=encoding)
            assert (outcome.code, outcome.err) == (0, ""), words
            if words[0] == "json":
                assert odd in [os.fsencode(run["directory"]) for run in json.loads(outcome.out)["runs"]]
        command = [sys.executable, "-m", "dlrun", "compare", "--paths"]
        done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
        assert odd in done.stdout.splitlines()


def test_neither_jax_nor_pandas_is_imported():
    sweep({"gelu": GELU, "relu": RELU})
    heavy = "{'jax', 'pandas', 'hydra', 'matplotlib', 'scipy.stats', 'pydantic'}"
    code = f"import sys; from dlrun.cli.main import main; main(['compare']); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_load_is_for_notebooks():
    sweep({"gelu": GELU, "relu": RELU})
    runs = load(["outputs"])
    assert [r["val/accuracy"] for r in runs.where("act=relu").records()] == list(RELU)


def test_groups_in_another_order(dlrun):
    sweep({"gelu": GELU, "relu": RELU, "tanh": (0.5, 0.7, 0.6)})
    for words, expected in {
        (): ["relu", "gelu", "tanh"],
        ("--reverse",): ["tanh", "gelu", "relu"],
        ("--sort", "act"): ["gelu", "relu", "tanh"],
        ("--sort", "accuracy", "--reverse"): ["relu", "gelu", "tanh"],
    }.items():
        rows = records(dlrun("compare", "--group-by", "act", "--format", "csv", *words))
        assert [row["group"] for row in rows] == expected, words


def test_the_baseline_is_one_that_can_be_compared(dlrun):
    trained("0", 0.5, act__name="elu")  # the first, and alone
    for seed in range(3):
        made(f"1{seed}", status="diverged", act__name="silu", seed=seed)
    for seed, value in enumerate(GELU):
        trained(f"2{seed}", value, act__name="gelu", seed=seed)
    sweep({"relu": RELU})
    outcome = dlrun("compare", "--group-by", "act")
    assert json.loads(dlrun("compare", "--format", "json").out)["baseline"] == "gelu"
    assert "relu beats gelu by 3.0" in outcome.out
    trained("3", 0.5, act__name="mish", data__name="iris")
    summary = SUMMARY | {"metric": "val/r2", "best/val/r2": 0.4, "val/r2": 0.4}
    for seed in range(2):
        made(f"r{seed}", summary=summary, data__name="diabetes", seed=seed)
    found = json.loads(dlrun("compare", "--metric", "r2", "--format", "json").out)
    assert found["baseline"] == "act=relu data=diabetes"


def test_a_long_name_of_the_baseline_is_said_once(dlrun):
    numbers = {"optim__beta_1": 0.123456789012, "optim__weight_decay": 0.000123456789}
    sweep({"gelu": GELU, "relu": RELU}, **numbers)
    for name in ("elu", "silu", "mish", "tanh"):
        trained(name, 0.8, act__name=name, optim__beta_1=0.5, optim__weight_decay=0.1)
    base = "act=gelu optim.beta_1=0.12346 optim.weight_decay=0.00012346"
    outcome = dlrun("compare")
    assert "\n  act=relu beats act=gelu by 3.0" in outcome.out
    assert "4 groups have fewer than 3 seeds to compare with the baseline" in outcome.out
    assert f"\n\nbaseline: {base}\n\n" in outcome.out
    assert "  − baseline" in outcome.out
    found = json.loads(dlrun("compare", "--format", "json").out)
    assert found["notes"][0] == f"baseline: {base}"
    assert found["baseline"] == base
    assert found["runs"][0]["optim.beta_1"] == 0.123456789012
    assert json.loads(dlrun("compare", "--format", "json", "--baseline", base).out)["baseline"] == base


def test_too_many_groups_are_no_comparison(dlrun):
    for i in range(102):
        trained(f"{i}", 0.9, optim__lr=0.1 + i / 1000)
    trained("again", 0.8, optim__lr=0.1, seed=1)
    outcome = dlrun("compare")
    assert "102 groups are too many to compare (100 at most)" in outcome.out
    assert "against" not in outcome.out


def test_of_several_metrics_each_verdict_says_which(dlrun):
    sweep({"gelu": GELU, "relu": RELU})
    words = ("compare", "--group-by", "act", "--metric", "val/accuracy,test/accuracy")
    for format, bullet in (("md", "- "), ("latex", "% ")):
        lines = dlrun(*words, "--format", format).out.splitlines()
        assert [line.split("accuracy: ")[0] for line in lines if "beats" in line] == [f"{bullet}val/", f"{bullet}test/"]
        assert any(line.startswith(f"{bullet}methods: paired t") for line in lines)
    assert "relu beats gelu" in dlrun(*words, "--columns", "act").out


def test_files_are_written_whatever_is_printed(dlrun):
    sweep({"gelu": GELU, "relu": RELU})
    assert dlrun("compare", "--best", "--report", "report.html").out == "outputs/relu1\n"
    assert Path("report.html").stat().st_size > 1000


def test_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    for module in TOOLS.values():
        text = importlib.import_module(module).parser().format_help()
        assert max(map(len, text.splitlines())) <= 80, text
        assert text.isascii()


def test_each_metric_has_its_own_difference_p_and_d_beside_it(dlrun):
    sweep({"gelu": GELU, "relu": RELU})
    words = ("compare", "--group-by", "act", "--metric", "val/accuracy,test/accuracy,train/loss")
    head, first, _ = dlrun(*words).out.split("\n\n")[0].splitlines()
    block = ["95% interval", "best", "worst", "− gelu", "p", "d"]
    names = [name for name in re.split(r"\s{2,}", head) if name]
    assert names == ["act", "n", "val/accuracy", *block, "test/accuracy", *block, "train/loss", *block[:-1]]
    p = f"{stats.ttest_rel(RELU, GELU).pvalue:.2g}"
    assert re.split(r"\s{2,}", first).count(p) == 2


def test_columns_of_groups_are_chosen_and_the_best_is_bold(dlrun):
    sweep({"gelu": GELU, "relu": RELU}, data__name="digits")
    by = ("compare", "--group-by", "act", "--metric", "val/accuracy,train/loss", "--format")
    lines = dlrun(*by, "latex", "--columns", "act,accuracy,p").out.splitlines()
    assert lines[2] == r"act & val/accuracy & p & p \\"
    assert lines[4].startswith(r"relu & \textbf{0.935 $\pm$ 0.013} & 0.0052 &")
    table = dlrun(*by, "table", "--columns", "interval,act.name,difference,p").out.split("\n\n")[0].splitlines()
    assert re.split(r"\s{2,}", table[0].strip()) == [
        "95% interval",
        "95% interval",
        "act",
        "− gelu",
        "− gelu",
        "p",
        "p",
    ]
    outcome = dlrun(*by, "md", "--columns", "act,seed")
    assert outcome.out.startswith("| act |\n")
    assert outcome.err.startswith("--columns: groups have no seed, only act, n, val/accuracy, interval, best, worst,")
    assert dlrun(*by, "md", "--columns", "act,sed").err.startswith("error: sed: no such column (did you mean 'seed'?)")
    for seed, value in enumerate(GELU):
        trained(f"i{seed}", value / 2, act__name="gelu", seed=seed, data__name="iris")
    bold = [line for line in dlrun("compare", "--format", "latex").out.splitlines() if "textbf" in line]
    assert [line.split(" & ")[:2] for line in bold] == [["relu", "digits"], ["gelu", "iris"]], "one of each data set"


def test_a_paper_has_keys_and_metrics_of_single_runs(dlrun):
    trained("a", 0.9, act__name="gelu")
    trained("b", 0.8, act__name="relu")
    lines = dlrun("compare", "--format", "latex").out.splitlines()
    assert lines[2] == r"act & val/accuracy \\"
    assert lines[4] == r"gelu & 0.9000 \\"


def test_the_best_group_as_baseline(dlrun):
    sweep({"gelu": GELU, "relu": RELU, "tanh": (0.5, 0.7, 0.6, 0.6)})
    trained("lucky", 0.99, act__name="elu")  # a single seed
    words = ("compare", "--group-by", "act", "--baseline", "best")
    out = dlrun(*words).out
    p = [stats.ttest_rel(x, RELU).pvalue for x in (GELU, (0.5, 0.7, 0.6, 0.6))]
    first, second = (3 * min(p), max(3 * min(p), 2 * max(p)))  # Holm's, as if they were two of all three pairs
    found = {v["group"]: v for v in json.loads(dlrun(*words, "--format", "json").out)["verdicts"]}
    assert f"p = {first if p[1] < p[0] else second:.1g} corrected for 3 comparisons" in found["tanh"]["text"]
    assert found["gelu"]["text"].startswith("gelu loses to relu by 3.0")
    note = "baseline: relu, the best by val/accuracy; as the results chose it, p is corrected for all 3 pairs of groups"
    assert f"\n\n{note}\n\n" in out
    assert "baseline: relu, the best by train/loss" not in dlrun(*words, "--metric", "train/loss").out
    assert "fewer" not in dlrun(*words, "--where", "act in (relu,gelu)").out
    trained("other", 0.9, act__name="relu", data__name="iris")
    error = (
        "error: --baseline best: the groups were trained on different data: iris, not recorded; "
        "--where data=... chooses one\n"
    )
    assert dlrun(*words).err == error
    made("young", status="running", rows=[], act__name="new")
    assert (
        dlrun(*words, "--where", "act=new").err
        == "error: --baseline best: no group has a completed run with a metric\n"
    )


def test_a_group_that_is_called_best_is_meant_by_its_name(dlrun):
    sweep({"gelu": GELU, "relu": RELU, "best": (0.5, 0.7, 0.6, 0.6)})
    assert json.loads(dlrun("compare", "--baseline", "best", "--format", "json").out)["baseline"] == "best"


def test_a_verdict_names_only_what_differs(dlrun):
    for norm, more in {"none": (0.0, 0.0, 0.0, 0.0), "batch": (0.05, 0.06, 0.05, 0.06)}.items():
        for act, values in {"gelu": GELU, "relu": RELU}.items():
            for seed, (value, by) in enumerate(zip(values, more, strict=True)):
                trained(f"{norm}{act}{seed}", value - by, act__name=act, norm__name=norm, seed=seed, optim__lr=0.1)
    outcome = dlrun("compare", "--group-by", "act,norm,optim.lr", "--baseline", "act=relu and norm=none")
    lines = [line.split(" ±")[0].strip() for line in outcome.out.splitlines() if "paired over" in line]
    assert lines == [
        "act=gelu loses to act=relu by 3.0",
        "norm=batch loses to norm=none by 5.50",
        "act=gelu norm=batch loses to act=relu norm=none by 8.5",
    ]
    assert "\n\nbaseline: act=relu norm=none optim.lr=0.1\n\n" in outcome.out


def test_training_metrics_are_those_of_the_end(dlrun):
    made("a")
    (row,) = records(dlrun("compare", "--metric", "train/loss,val/loss", "--format", "csv"))
    assert (row["train/loss"], row["val/loss"]) == ("0.1", "0.4")
    (row,) = records(dlrun("compare", "--metric", "train/loss", "--at", "best", "--format", "csv"))
    assert row["train/loss at best"] == "0.3"
    (row,) = records(dlrun("compare", "--columns", "train/loss", "--format", "csv"))
    assert row["train/loss"] == "0.1"
    assert dlrun("compare", "--where", "train/loss<0.2", "--paths").out == "outputs/a\n"


def test_other_files_are_other_data_unless_their_contents_are_the_same(dlrun):
    for name, path in (("a", "houses.csv"), ("b", "cars.csv")):
        for seed, value in enumerate(GELU):
            trained(f"{name}{seed}", value, act__name=name, seed=seed, data__name="table", data__path=path)
    assert "not compared, as they were trained on other data: act=b data.path=cars.csv\n" in dlrun("compare").out
    recorded("*", data="aaaa")
    assert "not compared" not in dlrun("compare").out
    assert "split" not in dlrun("compare", "--group-by", "seed").out
    recorded("b*", data="bbbb")
    assert "data sets are split by data.path" in dlrun("compare", "--group-by", "seed").out
    out = dlrun("compare").out
    assert "not compared" in out
    assert "●" not in out, "one scale for several data sets would compare them"
    assert "not compared" in dlrun("compare", "--group-by", "act,data.path").out, "whatever the keys"
