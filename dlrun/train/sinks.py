"""Copies metric rows to CSV, TensorBoard, MLflow and W&B.

metrics.jsonl is the record, the sinks are copies of it. So each sink is given all rows of the run when it starts: a new
run has none, a resumed one has those up to the step it goes on from. A sink of files writes its files anew; a sink of
a service goes on with the same run there and adds only what is missing. So rows that got lost, or that a resumed run
writes again, need no further care.

A number that is not finite is null in metrics.jsonl, empty in CSV and NaN elsewhere.
"""

# pyright: reportMissingImports=false
# The libraries are optional.

import contextlib
import csv
import io
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from dlrun.runs import atomic, files, rundir
from dlrun.runs.metric_names import ROW_KEYS

NEEDS = {"tensorboard": ("tensorboardX",), "mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",)}


class Sink(Protocol):
    """Takes the rows of a run.

    Args:
      directory: the run directory.
      project: the experiment's or project's name.
      values: the run's configuration.
    """

    def __init__(self, directory: Path, project: str, values: dict[str, Any]): ...

    def write(self, row: dict[str, Any]) -> None: ...

    def close(self, status: str) -> None:
        """The run has ended: ``completed``, ``stopped`` or ``failed``."""


def missing(names: Iterable[str]) -> list[str]:
    """An error message for each sink whose library is not installed."""
    return [
        f"log.sinks={name}: needs the package {package}; allowed after: pip install 'dlrun[{name}]'"
        for name in dict.fromkeys(names)
        for package in [p for p in NEEDS.get(name, ()) if not _installed(p)][:1]
    ]


def _installed(package: str) -> bool:
    spec = find_spec(package)
    return spec is not None and spec.origin is not None  # a folder of that name, such as W&B's own ./wandb, has none


def named(row: dict[str, Any]) -> dict[str, float]:
    """The metrics of a row as ``val/loss`` and the like; NaN where they are not finite."""
    numbers = {k: v for k, v in row.items() if k not in ROW_KEYS and isinstance(v, int | float | None)}
    return {f"{row['split']}/{k}": v if v is not None and _finite(v) else math.nan for k, v in numbers.items()}


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


class Sinks:
    """The sinks of a run. One whose library fails is left out from then on, with a warning: it must not cost the run.

    Args:
      names: which; the keys of ``SINKS``.
      warn: shows a line to the person.
      directory, project, values: of :class:`Sink`.
    """

    def __init__(
        self, names: list[str], warn: Callable[[str], None], directory: Path, project: str, values: dict[str, Any]
    ):
        self.warn = warn
        self.sinks: dict[str, Sink] = {}
        rows = rundir.read_metrics(directory) if names else []
        for name in dict.fromkeys(names):
            with self._guarded(name):
                sink = SINKS[name](directory, project, values)
                for row in rows:
                    sink.write(row)
                self.sinks[name] = sink

    def write(self, row: dict[str, Any]) -> None:
        for name, sink in list(self.sinks.items()):
            with self._guarded(name):
                sink.write(row)

    def close(self, status: str) -> None:
        for name, sink in list(self.sinks.items()):
            with self._guarded(name):
                sink.close(status)

    @contextlib.contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout carries results only; MLflow prints links
                yield
        except Exception as error:  # a library may fail in any way: no server, no space, no account
            self.sinks.pop(name, None)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            reason = reason if len(reason) <= 200 else reason[:197] + "..."
            text = f"log.sinks={name}: failed and gets no more rows; the run goes on: {reason}"
            self.warn(text)


class JsonLines:
    """metrics.jsonl as a sink."""

    def __init__(self, directory: Path):
        self.file = rundir.Metrics(directory)

    def write(self, row: dict[str, Any]) -> None:
        self.file.write(row)

    def close(self, status: str) -> None:
        self.file.close()


class Csv:
    """``metrics.csv``: one row per step and split, one column per metric. A new column has the file written anew."""

    def __init__(self, directory: Path, project: str, values: dict[str, Any]):
        self.path = directory / rundir.CSV
        self.columns: list[str] = []
        files.replace(self.path, [])
        self.file = files.appender(self.path)  # unbuffered: each row is written whole, at once

    def write(self, row: dict[str, Any]) -> None:
        if new := [k for k in row if k not in self.columns]:
            self._add(new)
        self.file.write(self._text([{k: v if _finite(v) else None for k, v in row.items()}]).encode())

    def _add(self, columns: list[str]) -> None:
        rows = list(csv.DictReader(io.StringIO(files.read(self.path, most=rundir.MOST_ROWS).decode(), newline="")))
        self.columns += columns
        atomic.write(self.path, self._text([dict(zip(self.columns, self.columns, strict=True)), *rows]))
        self.file.close()
        self.file = files.appender(self.path)

    def _text(self, rows: list[dict[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerows(rows)
        return text.getvalue()

    def close(self, status: str) -> None:
        self.file.close()


class TensorBoard:
    """Event files in ``tensorboard/``, for ``tensorboard --logdir outputs``. Relative time is time in training."""

    def __init__(self, directory: Path, project: str, values: dict[str, Any]):
        import yaml
        from tensorboardX import SummaryWriter

        folder = directory / rundir.TENSORBOARD
        for old in folder.glob("events.*"):  # if it were deleted, an open TensorBoard would not read the new one
            files.empty(old)
        # The mark "from step 0 on" lets an open TensorBoard forget the points it has.
        self.writer = SummaryWriter(str(folder), purge_step=0, flush_secs=1)
        self.began = time.time() - max((r.get("time", 0.0) for r in rundir.read_metrics(directory)), default=0.0)
        self.writer.add_text("config", "    " + yaml.safe_dump(values, sort_keys=False).replace("\n", "\n    "))

    def write(self, row: dict[str, Any]) -> None:
        for name, value in named(row).items():
            self.writer.add_scalar(name, value, row["step"], walltime=self.began + row.get("time", 0.0))

    def close(self, status: str) -> None:
        self.writer.close()


class MLflow:
    """A run of the experiment ``log.project`` at ``MLFLOW_TRACKING_URI``, by default MLflow's own: ``./mlflow.db``.

    MLflow deletes nothing. A row that a resumed run writes again is left out where its value is the same, and added to
    the old one where it is not; a configuration value that a resumed run changes becomes a tag of its name.
    """

    def __init__(self, directory: Path, project: str, values: dict[str, Any]):
        # A run must not wait minutes for a server that is away, nor report its use to anybody, unless told to.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Param, RunTag

        given = os.environ.get("MLFLOW_TRACKING_URI")
        run = atomic.read_json(directory / rundir.RUN) or {}
        if not given and not re.fullmatch(r"sqlite:///([^?#]*/)?mlflow\.db", str(run.get("mlflow_uri"))):
            run = {}  # somebody else's directory must not send what is measured here to a server of theirs
        uri = given or run.get("mlflow_uri") or f"sqlite:///{Path('mlflow.db').resolve()}"
        self.client = MlflowClient(uri)  # rather than mlflow.log_metrics: several runs may share this process
        self.id = run.get("mlflow_run") or self._create(project, directory)
        # A given address is given again on resuming: it may hold a password.
        rundir.update_run(directory, mlflow_run=self.id, mlflow_uri=None if given else uri)
        there = self.client.get_run(self.id).data
        histories = [self.client.get_metric_history(self.id, name) for name in there.metrics]
        self.known = {(m.key, m.step, str(m.value)) for history in histories for m in history}
        new = {k: v for k, v in flat(values).items() if there.params.get(k) != v}
        self.client.update_run(self.id, status="RUNNING")
        self.client.log_batch(
            self.id,
            params=[Param(k, v) for k, v in new.items() if k not in there.params],
            tags=[RunTag(k, v) for k, v in new.items() if k in there.params],
        )

    def _create(self, project: str, directory: Path) -> str:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_experiment(project)
        except MlflowException as error:  # it is there, or another run has just made it
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = self.client.get_experiment_by_name(project)
        assert experiment is not None
        tags = {"directory": str(directory.resolve())}
        return self.client.create_run(experiment.experiment_id, run_name=_name(directory), tags=tags).info.run_id

    def write(self, row: dict[str, Any]) -> None:
        from mlflow.entities import Metric

        now, step = int(time.time() * 1000), row["step"]
        new = {k: float(v) for k, v in named(row).items() if (k, step, str(float(v))) not in self.known}
        self.client.log_batch(self.id, metrics=[Metric(k, v, now, step) for k, v in new.items()])

    def close(self, status: str) -> None:
        self.client.set_terminated(self.id, {"completed": "FINISHED", "stopped": "KILLED"}.get(status, "FAILED"))


class Wandb:
    """A run of the project ``log.project``, kept in ``wandb/`` of the run directory for ``wandb sync``.

    With ``WANDB_MODE=online`` it is sent during the run. W&B never replaces a step that it was sent, so rows that a
    resumed run writes again keep their first values there.
    """

    def __init__(self, directory: Path, project: str, values: dict[str, Any]):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        known = (atomic.read_json(directory / rundir.RUN) or {}).get("wandb_run")
        mode: Any = os.environ.get("WANDB_MODE") or "offline"  # W&B's own default asks for an account, and waits
        self.run = wandb.init(
            project=project, name=_name(directory), dir=directory, config=values, mode=mode, id=known,
            resume="allow" if known and mode == "online" else None, allow_val_change=True, reinit="create_new",
            settings=wandb.Settings(console="off", quiet=True),
        )  # fmt: skip
        rundir.update_run(directory, wandb_run=self.run.id)
        current = Path(self.run.dir).resolve().parent
        for old in (directory / rundir.WANDB).glob(f"offline-run-*-{self.run.id}"):
            if mode == "offline" and old.resolve() != current and not any(old.glob("*.synced")):
                files.remove_folder(old)  # the rows are all written anew

    def write(self, row: dict[str, Any]) -> None:
        if row["split"] == "test":  # it belongs to the best step, which W&B has passed: so a result of the run
            self.run.summary.update(named(row))
        elif row["step"] >= self.run.step:
            self.run.log({**named(row), "epoch": row.get("epoch", 0.0)}, step=row["step"])

    def close(self, status: str) -> None:
        self.run.finish(exit_code=0 if status in ("completed", "stopped") else 1)


SINKS: dict[str, type[Sink]] = {"csv": Csv, "tensorboard": TensorBoard, "mlflow": MLflow, "wandb": Wandb}


def _name(directory: Path) -> str:
    """A name that differs for runs and for jobs of sweeps: ``<date>/<time>-<hex>``, ``<time>-<hex>/<job>``."""
    return "/".join(directory.resolve().parts[-2:])


def flat(values: dict[str, Any], path: str = "") -> dict[str, str]:
    """Nested values by dotted path, as the user would type them."""
    found = {}
    for key, value in values.items():
        where = f"{path}.{key}" if path else key
        if isinstance(value, dict) and value:
            found |= flat(value, where)
        else:
            found[where] = value if isinstance(value, str) else json.dumps(value)
    return found
