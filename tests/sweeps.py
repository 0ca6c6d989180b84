"""What tests of sweeps have in common: looking into sweep directories, and counting compilations."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import yaml

COMPILED = "/jax/core/compile/backend_compile_duration"
TINY = ("model.widths=[8]", "log.plot=false")
SMALL = (*TINY, "optim=sgd", "norm=none", "schedule=constant", "dropout=0.1")
"""Digits in milliseconds: sweeps of these words find the program compiled that another test of this session made."""


def record(sweep: Path) -> dict[str, Any]:
    """sweep.json."""
    return json.loads((sweep / "sweep.json").read_text())


def statuses(sweep: Path) -> list[str]:
    """Of all jobs, by number: sweep.json and the runs' own records agree on them."""
    found = [job["status"] for job in record(sweep)["jobs"]]
    for status, run in zip(found, runs(sweep), strict=True):
        own = json.loads((run / "run.json").read_text())["status"] if (run / "run.json").exists() else "pending"
        assert status == ("killed" if own == "running" else own), run
    return found


def runs(sweep: Path) -> list[Path]:
    """The directories of the jobs, by number."""
    jobs = record(sweep)["jobs"]
    assert [job["job"] for job in jobs] == list(range(len(jobs)))
    return [sweep / job["directory"] for job in jobs]


def words(run: Path) -> list[str]:
    """What makes the same run alone."""
    return yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text())


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """All files below, with the times they were written at."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def compilations() -> Iterator[list[str]]:
    """Names of the compiled functions that train."""
    names: list[str] = []

    def listen(event: str, duration: float, **about: Any) -> None:
        name = str(about.get("fun_name"))
        if event == COMPILED and "train" in name:
            names.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
