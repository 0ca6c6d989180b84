"""Where metric rows go beside metrics.jsonl. Each sink takes the rows of metrics.jsonl; its library is optional."""

import contextlib
import csv
import io
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from dlrun import rundir

NEEDS = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
KEYS = ("step", "epoch", "split", "time")  # of a row, beside its metrics


class Sink(Protocol):
    """Takes the rows of a run."""

    def write(self, row: dict[str, Any]) -> None: ...

    def close(self, status: str) -> None: ...


def missing(names: list[str]) -> list[str]:
    """Problems with sinks whose library is not installed."""
    return [
        f"log.sinks={name}: needs the package {NEEDS[name]}; allowed after: pip install 'dlrun[{name}]'"
        for name in names
        if name in NEEDS and find_spec(NEEDS[name]) is None
    ]


def named(row: dict[str, Any]) -> dict[str, float]:
    """The metrics of a row as ``val/loss`` and the like."""
    return {f"{row['split']}/{k}": v for k, v in row.items() if k not in KEYS and isinstance(v, int | float)}


class Csv:
    """``metrics.csv``: a row a step and split, a column a metric; columns that appear later are added."""

    def __init__(self, directory: Path, project: str, values: dict[str, Any], resumed: bool):
        self.file = directory / "metrics.csv"
        self.rows = rundir.read_metrics(directory) if resumed else []
        self.columns: list[str] = []

    def write(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        new = [k for r in self.rows for k in r if k not in self.columns]
        if new:
            self.columns += dict.fromkeys(new)
            rundir.write(self.file, self._text(self.rows, header=True))
        else:
            with self.file.open("a", encoding="utf-8") as f:
                f.write(self._text([row], header=False))

    def _text(self, rows: list[dict[str, Any]], *, header: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def close(self, status: str) -> None:
        pass


class TensorBoard:
    """Event files in ``tensorboard/`` for ``tensorboard --logdir``."""

    def __init__(self, directory: Path, project: str, values: dict[str, Any], resumed: bool):
        from tensorboardX import SummaryWriter

        # Events of steps that a resumed run takes again are hidden by the restart mark at its first step.
        last = max((r["step"] for r in rundir.read_metrics(directory)), default=None) if resumed else None
        self.writer = SummaryWriter(str(directory / "tensorboard"), purge_step=None if last is None else last + 1)
        if not resumed:
            import yaml

            self.writer.add_text("config", "    " + yaml.safe_dump(values, sort_keys=False).replace("\n", "\n    "))

    def write(self, row: dict[str, Any]) -> None:
        for name, value in named(row).items():
            self.writer.add_scalar(name, value, row["step"])

    def close(self, status: str) -> None:
        self.writer.close()


class MLflow:
    """A run of the experiment ``log.project`` at ``MLFLOW_TRACKING_URI``, by default ``mlruns.db`` in the working folder."""

    def __init__(self, directory: Path, project: str, values: dict[str, Any], resumed: bool):
        import os

        import mlflow

        if not os.environ.get("MLFLOW_TRACKING_URI"):
            mlflow.set_tracking_uri("sqlite:///mlruns.db")
        self.mlflow = mlflow
        mlflow.set_experiment(project)
        known = (rundir.read_json(directory / rundir.RUN) or {}).get("mlflow_run")
        run = mlflow.start_run(run_id=known if resumed else None, run_name=None if resumed else directory.name)
        rundir.update_run(directory, mlflow_run=run.info.run_id)
        if not resumed:
            mlflow.log_params(flat(values))
            mlflow.set_tag("directory", str(directory.resolve()))

    def write(self, row: dict[str, Any]) -> None:
        self.mlflow.log_metrics(named(row), step=row["step"])

    def close(self, status: str) -> None:
        self.mlflow.end_run({"completed": "FINISHED", "stopped": "KILLED"}.get(status, "FAILED"))


class Wandb:
    """A run of the project ``log.project``; ``WANDB_MODE=offline`` keeps it in ``wandb/`` of the run directory."""

    def __init__(self, directory: Path, project: str, values: dict[str, Any], resumed: bool):
        import wandb

        known = (rundir.read_json(directory / rundir.RUN) or {}).get("wandb_run")
        self.run = wandb.init(
            project=project, name=directory.name, dir=directory, config=values,
            id=known if resumed else None, resume="allow" if resumed else None,
        )  # fmt: skip
        rundir.update_run(directory, wandb_run=self.run.id)

    def write(self, row: dict[str, Any]) -> None:
        self.run.log({**named(row), "epoch": row["epoch"]}, step=row["step"])

    def close(self, status: str) -> None:
        self.run.finish(exit_code=0 if status in ("completed", "stopped") else 1)


SINKS = {"csv": Csv, "tensorboard": TensorBoard, "mlflow": MLflow, "wandb": Wandb}


@contextlib.contextmanager
def opened(names: list[str], *args: Any) -> Iterator[list[Sink]]:
    """The sinks of these names."""
    yield [SINKS[name](*args) for name in names]


def flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Nested values by dotted path."""
    found = {}
    for key, value in values.items():
        where = f"{path}.{key}" if path else key
        found |= flat(value, where) if isinstance(value, dict) and value else {where: value}
    return found
