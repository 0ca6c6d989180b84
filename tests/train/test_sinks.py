"""Every sink, read back with its own library, holds the rows of metrics.jsonl: once each, resumed or not."""

import csv
import json
import math
import os
import shutil
import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrun.runs import atomic, rundir
from dlrun.train import sinks
from tests.conftest import QUICK

Row = dict[str, Any]
SQLALCHEMY = "ignore:.*noload.*"  # a loader strategy of MLflow's own, deprecated in SQLAlchemy 2.1
VALUES = {"epochs": 2, "model": {"name": "mlp", "widths": [16]}, "clip_norm": None, "augment": {}}


def rows(first: int, last: int, scale: float = 1.0) -> list[Row]:
    """A training row each 10 steps, a validation row each 20."""
    found = []
    for step in range(first, last + 1, 10):
        base = {"step": step, "epoch": step / 20, "time": step / 100}
        found.append({**base, "split": "train", "loss": scale / step, "lr": 0.1 * scale})
        if step % 20 == 0:
            found.append({**base, "split": "val", "loss": scale * 2 / step, "accuracy": 1 - 1 / step})
    return found


TEST = {"step": 20, "epoch": 1.0, "split": "test", "accuracy": 0.75, "loss": 0.5, "time": 0.6}


def write(directory: Path, names: list[str], given: list[Row], status: str | None = "completed") -> list[str]:
    """Does what the loop does with rows; without a status, as if the run was then killed. Gives the warnings."""
    directory.mkdir(exist_ok=True)
    warnings: list[str] = []
    record, others = rundir.Metrics(directory), sinks.Sinks(names, warnings.append, directory, "exam", VALUES)
    for row in given:
        record.write(row)
        others.write(row)
    record.close()
    if status:
        others.close(status)
    return warnings


def a_second_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the clock forward, for libraries whose files are named by the second."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 1.0)


def drop_rows(directory: Path, last: int) -> None:
    """What resuming does with the rows after the step that it goes on from."""
    rundir.keep_rows(directory, lambda row: row["step"] <= last and row["split"] != "test")


Points = list[tuple[str, int, str]]
"""Names of metrics, steps and values; as text, so that NaN equals NaN."""


def points(given: list[Row], number: type = float) -> Points:
    return sorted((name, row["step"], str(number(v))) for row in given for name, v in sinks.named(row).items())


def table(directory: Path) -> list[Row]:
    """metrics.csv, its empty cells left out."""
    with (directory / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    return [{k: v if k == "split" else json.loads(v) for k, v in row.items() if v != ""} for row in found]


def dense(given: list[Row]) -> list[Row]:
    return [{k: v for k, v in row.items() if v is not None} for row in given]


def tensorboard(directory: Path) -> Any:
    pytest.importorskip("tensorboardX")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(directory / "tensorboard"), size_guidance={"scalars": 0})
    return events.Reload()


def tensorboard_points(directory: Path) -> Points:
    events = tensorboard(directory)
    scalars = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    return sorted((name, e.step, str(np.float32(e.value))) for name, series in scalars.items() for e in series)


def test_names_carry_the_split_and_what_is_not_finite_is_nan():
    row = {**TEST, "split": "val", "loss": 2.0, "n": 4, "a": None, "b": math.inf, "s": "x"}
    del row["accuracy"]
    found = sinks.named(row)
    assert list(found) == ["val/loss", "val/n", "val/a", "val/b"]
    assert found["val/loss"] == 2.0
    assert found["val/n"] == 4
    assert math.isnan(found["val/a"])
    assert math.isnan(found["val/b"])


# CSV


def test_csv_holds_the_rows_exactly(tmp_path):
    given = [*rows(10, 40), {**TEST, "loss": math.nan, "accuracy": 1e-300, 'odd, "name"': -math.inf}]
    assert write(tmp_path, ["csv"], given) == []
    assert table(tmp_path) == dense(rundir.read_metrics(tmp_path))
    assert [set(given[-1]) - set(table(tmp_path)[-1])] == [{"loss", 'odd, "name"'}], "not finite: an empty cell"


def test_csv_row_is_there_before_the_next(tmp_path):
    sink = sinks.Csv(tmp_path, "exam", {})
    for number, row in enumerate(rows(10, 30), start=1):
        sink.write(row)
        assert table(tmp_path) == rows(10, 30)[:number]
    sink.close("completed")


def test_csv_is_written_again_for_new_columns_only(tmp_path):
    sink = sinks.Csv(tmp_path, "exam", {})
    file = tmp_path / "metrics.csv"
    train, val = rows(20, 20)
    sink.write(train)
    first = file.stat().st_ino
    for _ in range(5):
        sink.write(train)
    assert file.stat().st_ino == first, "rows without new metrics are appended"
    sink.write(val)
    second = file.stat().st_ino
    assert second != first, "a new file takes the old one's place whole, with a column for accuracy"
    sink.write(train)
    sink.write(val)
    sink.close("completed")
    assert file.stat().st_ino == second
    assert table(tmp_path) == [train] * 6 + [val, train, val]
    assert file.read_text().splitlines()[0] == "step,epoch,time,split,loss,lr,accuracy"


def test_csv_after_a_resume_equals_the_record(tmp_path):
    write(tmp_path, ["csv"], [*rows(10, 60), TEST])
    drop_rows(tmp_path, 40)
    write(tmp_path, ["csv"], [*rows(50, 80, scale=3.0), {**TEST, "step": 80}])
    assert table(tmp_path) == rundir.read_metrics(tmp_path) == [*rows(10, 40), *rows(50, 80, 3.0), {**TEST, "step": 80}]


def test_csv_can_join_in_a_resumed_run(tmp_path):
    write(tmp_path, [], rows(10, 40))
    write(tmp_path, ["csv"], rows(50, 60))
    assert table(tmp_path) == rows(10, 60)


# A library that is missing or fails


def test_sink_that_fails_is_left_out_and_the_others_go_on(tmp_path, monkeypatch, caplog, capsys):
    calls = []

    class Fails(sinks.Csv):
        def __init__(self, directory: Path, project: str, values: dict[str, Any]):
            self.when = values["when"]
            self._fail("start")

        def _fail(self, when: str) -> None:
            calls.append(when)
            print("a link that does not belong on stdout")
            if when == self.when:
                raise ConnectionError("no route\n   to host " + "x" * 500)

        def write(self, row: dict[str, Any]) -> None:
            self._fail("write")

        def close(self, status: str) -> None:
            self._fail("close")

    monkeypatch.setitem(sinks.SINKS, "mlflow", Fails)
    expected = {"start": ["start"], "write": ["start", "write"], "close": ["start", "write", "write", "close"]}
    for when, seen in expected.items():
        calls.clear()
        caplog.clear()
        warnings: list[str] = []
        opened = sinks.Sinks(["mlflow", "csv"], warnings.append, tmp_path, "exam", {"when": when})
        for row in rows(10, 20)[:2]:
            opened.write(row)
        opened.close("completed")
        assert calls == seen
        assert len(warnings) == 1
        assert warnings[0].startswith("log.sinks=mlflow: failed and gets no more rows")
        assert "ConnectionError: no route to host" in warnings[0]
        assert len(warnings[0]) < 300
        assert "\n" not in warnings[0]
        assert not caplog.records, "what shows the warning logs it, once"
        assert len(table(tmp_path)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "a link" in captured.err


def test_sink_named_twice_writes_once(tmp_path):
    write(tmp_path, ["csv", "csv"], rows(10, 20))
    assert table(tmp_path) == rows(10, 20)


def test_missing_library_is_an_error_before_anything_is_made(dlrun, monkeypatch, tmp_path):
    monkeypatch.setitem(sinks.NEEDS, "wandb", ("no_such_package", "nor_this_one"))
    outcome = dlrun(*QUICK, "log.sinks=[csv,wandb]", "batch_size=100000")
    assert outcome.code == 2
    first, second = sorted(outcome.err.splitlines())
    assert first.startswith("error: batch_size=100000"), "with whatever else is wrong"
    assert second.startswith("error: log.sinks=wandb: needs the package no_such_package; allowed after: pip install")
    assert second.endswith("'dlrun[wandb]'")
    assert not (tmp_path / "outputs").exists()


def test_folder_named_like_a_library_is_not_the_library(tmp_path, monkeypatch):
    (tmp_path / "left_by_a_library").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sinks.NEEDS, "wandb", ("left_by_a_library",))
    assert len(sinks.missing(["wandb", "wandb"])) == 1
    monkeypatch.setitem(sinks.NEEDS, "wandb", ("json", "numpy"))
    assert sinks.missing(["csv", "wandb"]) == []


def test_unknown_sink(dlrun):
    outcome = dlrun(*QUICK, "log.sinks=[tensorbord]")
    assert outcome.code == 2
    assert "log.sinks" in outcome.err
    assert "tensorboard" in outcome.err


# TensorBoard


def test_tensorboard_holds_the_rows(tmp_path):
    given = [*rows(10, 40), {**TEST, "loss": math.nan}]
    write(tmp_path, ["tensorboard"], given)
    assert tensorboard_points(tmp_path) == points(given, np.float32)
    events = tensorboard(tmp_path)
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "      widths:\n" in text
    times = [e.wall_time for e in events.Scalars("train/loss")]
    assert np.diff(times) == pytest.approx([0.1] * 3, abs=1e-3), "relative time is time in training"
    assert abs(times[0] - time.time()) < 60


def test_tensorboard_rows_are_there_within_seconds(tmp_path):
    pytest.importorskip("tensorboardX")
    sink = sinks.TensorBoard(tmp_path, "exam", VALUES)
    for row in rows(10, 30):
        sink.write(row)
    expected, deadline = points(rows(10, 30), np.float32), time.monotonic() + 20
    while (found := tensorboard_points(tmp_path)) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    sink.close("completed")
    assert found == expected


def test_tensorboard_after_a_resume_holds_each_row_once(tmp_path):
    write(tmp_path, ["tensorboard"], [*rows(10, 60), TEST])
    drop_rows(tmp_path, 40)
    write(tmp_path, ["tensorboard"], [*rows(50, 80, scale=3.0), {**TEST, "step": 80}])
    assert tensorboard_points(tmp_path) == points(rundir.read_metrics(tmp_path), np.float32)
    times = [e.wall_time for e in tensorboard(tmp_path).Scalars("train/loss")]
    assert np.diff(times) == pytest.approx([0.1] * 7, abs=1e-3)


def test_open_tensorboard_sees_each_row_once_after_a_resume(tmp_path, monkeypatch):
    write(tmp_path, ["tensorboard"], rows(10, 60))
    events = tensorboard(tmp_path)
    assert len(events.Scalars("train/loss")) == 6
    drop_rows(tmp_path, 40)
    a_second_later(monkeypatch)  # the file's name has the second in it
    write(tmp_path, ["tensorboard"], rows(50, 80, scale=3.0))
    found = [(e.step, np.float32(e.value)) for e in events.Reload().Scalars("train/loss")]
    assert found == [(r["step"], np.float32(r["loss"])) for r in rundir.read_metrics(tmp_path) if r["split"] == "train"]


# MLflow


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database, which takes seconds to make, without a run."""
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("alembic")
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def mlflow_client(empty_store: Path, own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of the working folder's store, where MLflow looks by default."""
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "1")  # so that what the sink sets is taken back
    shutil.copy(empty_store, "mlflow.db")
    return MlflowClient(f"sqlite:///{own_folder / 'mlflow.db'}")


def mlflow_runs(client: Any, project: str = "exam") -> list[Any]:
    return client.search_runs([client.get_experiment_by_name(project).experiment_id])


def mlflow_points(client: Any, run: Any) -> Points:
    histories = [client.get_metric_history(run.info.run_id, name) for name in run.data.metrics]
    return sorted((m.key, m.step, str(m.value)) for history in histories for m in history)


@pytest.mark.filterwarnings(SQLALCHEMY)
def test_mlflow_holds_the_rows_and_the_configuration(tmp_path, mlflow_client):
    given = [*rows(10, 40), {**TEST, "loss": math.nan}]
    assert write(tmp_path / "one", ["mlflow"], given) == []
    (run,) = mlflow_runs(mlflow_client)
    assert mlflow_points(mlflow_client, run) == points(given)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"{tmp_path.name}/one"
    assert run.data.params == {
        "epochs": "2", "model.name": "mlp", "model.widths": "[16]", "clip_norm": "null", "augment": "{}"
    }  # fmt: skip
    assert run.data.tags["directory"] == str(tmp_path / "one")
    assert atomic.read_json(tmp_path / "one" / "run.json")["mlflow_run"] == run.info.run_id


@pytest.mark.filterwarnings(SQLALCHEMY)
def test_mlflow_goes_on_with_the_same_run_wherever_it_is_resumed_from(tmp_path, mlflow_client, monkeypatch):
    run_directory = tmp_path / "one"
    write(run_directory, ["mlflow"], rows(10, 60), status="stopped")
    assert mlflow_runs(mlflow_client)[0].info.status == "KILLED"
    drop_rows(run_directory, 40)
    with (run_directory / "metrics.jsonl").open("a") as file:  # a row that the store never got
        lost = {**rows(10, 10)[0], "step": 45}
        file.write(json.dumps(lost) + "\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setitem(VALUES, "epochs", 3)
    write(run_directory, ["mlflow"], rows(50, 80), status="failed")
    (run,) = mlflow_runs(mlflow_client)
    assert mlflow_points(mlflow_client, run) == points([*rows(10, 80), lost])
    assert run.info.status == "FAILED"
    assert run.data.params["epochs"] == "2", "MLflow does not let it change"
    assert run.data.tags["epochs"] == "3"
    assert "model.name" not in run.data.tags


@pytest.mark.filterwarnings(SQLALCHEMY)
@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:///{}/other.db", "sqlite:///{}/x?mlflow.db", 5])
def test_mlflow_follows_no_address_of_a_directory(tmp_path, mlflow_client, uri):
    place = uri.format(tmp_path) if isinstance(uri, str) else uri
    atomic.write_json(tmp_path / "run.json", {"mlflow_uri": place, "mlflow_run": "theirs"})
    sinks.MLflow(tmp_path, "exam", VALUES).close("completed")
    (run,) = mlflow_runs(mlflow_client)
    assert atomic.read_json(tmp_path / "run.json")["mlflow_run"] == run.info.run_id
    assert {file.name for file in tmp_path.iterdir()} == {"mlflow.db", "run.json"}


@pytest.mark.filterwarnings(SQLALCHEMY)
def test_mlflow_takes_a_step_again_where_it_came_out_otherwise(tmp_path, mlflow_client):
    write(tmp_path, ["mlflow"], rows(10, 30), status=None)
    drop_rows(tmp_path, 20)
    write(tmp_path, ["mlflow"], rows(30, 30, scale=5.0))
    (run,) = mlflow_runs(mlflow_client)
    assert mlflow_points(mlflow_client, run) == points([*rows(10, 30), *rows(30, 30, scale=5.0)])
    assert run.data.metrics["train/loss"] == 5 / 30, "the later one counts"


@pytest.mark.filterwarnings(SQLALCHEMY)
def test_mlflow_runs_of_one_process_do_not_mix(tmp_path, mlflow_client):
    both = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        both.append(sinks.MLflow(tmp_path / name, "exam", VALUES))
    for sink, scale in zip(both, (1.0, 2.0), strict=True):
        sink.write(rows(10, 10, scale)[0])
    for sink in both:
        sink.close("completed")
    found = {run.info.run_name.split("/")[1]: mlflow_points(mlflow_client, run) for run in mlflow_runs(mlflow_client)}
    assert found == {"one": points(rows(10, 10)), "two": points(rows(10, 10, 2.0))}


@pytest.mark.slow
@pytest.mark.filterwarnings(SQLALCHEMY)
def test_mlflow_run_and_its_resume(dlrun, mlflow_client):
    directory = run_and_lose_the_last_state(dlrun, "mlflow")
    (run,) = mlflow_runs(mlflow_client, "exam")
    assert mlflow_points(mlflow_client, run) == points(rundir.read_metrics(directory))
    assert run.info.status == "FINISHED"
    assert run.data.params["optim.name"] == "adamw"


@pytest.mark.slow
def test_mlflow_server_that_is_away_costs_a_warning(shell):
    pytest.importorskip("mlflow")
    env = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    outcome = shell(*QUICK, "log.sinks=[mlflow,csv]", **env)
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 1
    assert outcome.err.count("warning: log.sinks=mlflow: failed") == 1
    assert "Traceback" not in outcome.err
    assert "log.sinks=mlflow: failed" in (outcome.directory / "log.txt").read_text()
    assert table(outcome.directory) == outcome.rows
    assert outcome.run["status"] == "completed"


# Weights & Biases


def wandb_records(file: Path) -> list[Any]:
    """The messages of a .wandb file, by W&B's own definitions of them.

    The file is a LevelDB log: after 7 bytes, blocks of 32 KiB; in them records of checksum (4 bytes), length (2) and
    kind (1: whole, 2: first part, 3: middle, 4: last); a block's last 6 bytes or fewer are filling.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, message, found = file.read_bytes(), 7, b"", []
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        message += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            found.append(Record.FromString(message))
            message = b""
    return found


def wandb_run(directory: Path) -> tuple[Points, dict[str, Any], Any, int | None]:
    """The points, the results, the run and the exit code of the only run in a directory."""
    import wandb

    wandb.teardown()  # waits for W&B's own process, which does the writing
    (file,) = directory.glob("wandb/offline-run-*/*.wandb")
    history, results, run, code = [], {}, None, None
    for record in wandb_records(file):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
            history += [(k, record.history.step.num, str(float(json.loads(v)))) for k, v in items.items() if "/" in k]
        elif kind == "summary":
            results |= {i.key: json.loads(i.value_json) for i in record.summary.update if i.key.startswith("test/")}
        elif kind == "run":
            run = record.run
        elif kind == "exit":
            code = record.exit.exit_code
    return sorted(history), results, run, code


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    module = pytest.importorskip("wandb")
    yield module
    module.teardown()


def test_wandb_holds_the_rows_and_the_configuration(tmp_path, wandb):
    given = rows(10, 40)
    given[-1]["loss"] = math.nan
    assert write(tmp_path, ["wandb"], [*given, TEST]) == []
    history, results, run, code = wandb_run(tmp_path)
    assert history == points(given)
    assert results == sinks.named(TEST), "of the best step, which W&B has passed by then"
    assert code == 0
    assert run.project == "exam"
    assert run.display_name == "/".join(tmp_path.parts[-2:])
    assert {c.key: json.loads(c.value_json) for c in run.config.update if c.key != "_wandb"} == VALUES
    assert atomic.read_json(tmp_path / "run.json")["wandb_run"] == run.run_id
    assert wandb.run is None


def test_wandb_goes_on_with_the_same_run(tmp_path, wandb, monkeypatch):
    write(tmp_path, ["wandb"], [*rows(10, 60), TEST], status="failed")
    *_, first, code = wandb_run(tmp_path)
    assert code == 1
    drop_rows(tmp_path, 40)
    a_second_later(monkeypatch)  # the folder's name has the second in it
    write(tmp_path, ["wandb"], [*rows(50, 80, scale=3.0), {**TEST, "step": 80, "loss": 0.25}])
    history, results, run, code = wandb_run(tmp_path)
    assert history == points([*rows(10, 40), *rows(50, 80, scale=3.0)])
    assert results["test/loss"] == 0.25
    assert run.run_id == first.run_id
    assert code == 0


def test_wandb_keeps_what_was_sent(tmp_path, wandb, monkeypatch):
    write(tmp_path, ["wandb"], rows(10, 20))
    (first,) = tmp_path.glob("wandb/offline-run-*")
    next(first.glob("*.wandb")).with_suffix(".wandb.synced").touch()  # as `wandb sync` leaves it
    a_second_later(monkeypatch)
    write(tmp_path, ["wandb"], rows(30, 40))
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
    assert first.exists()


def test_wandb_runs_of_one_process_do_not_mix(tmp_path, wandb):
    both = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        both.append(sinks.Wandb(tmp_path / name, "exam", VALUES))
    for sink, scale in zip(both, (1.0, 2.0), strict=True):
        sink.write(rows(10, 10, scale)[0])
    for sink in both:
        sink.close("completed")
    assert wandb_run(tmp_path / "one")[0] == points(rows(10, 10))
    assert wandb_run(tmp_path / "two")[0] == points(rows(10, 10, 2.0))


@pytest.mark.slow
def test_wandb_run_and_its_resume(dlrun, wandb):
    directory = run_and_lose_the_last_state(dlrun, "wandb")
    found = rundir.read_metrics(directory)
    history, results, run, code = wandb_run(directory)
    assert history == points([r for r in found if r["split"] != "test"])
    assert results == sinks.named(found[-1])
    assert run.project == "exam"
    assert code == 0


# Whole runs


def run_and_lose_the_last_state(dlrun: Any, *names: str) -> Path:
    """Trains with sinks, then resumes from the state before the last: half of the rows come twice."""
    words = ("model.widths=[16]", "epochs=4", "schedule=constant", "checkpoint.keep=3", "checkpoint.every=1epochs")
    log = ("log.every=5", "log.plot=false", "log.project=exam", f"log.sinks=[{','.join(names)}]")
    first = dlrun(*words, *log)
    assert first.code == 0, first.err
    assert len(first.out.splitlines()) == 1, "stdout carries the directory only"
    assert "log.sinks" not in first.err
    before = [{**row, "time": 0} for row in first.rows]
    states = sorted(int(p.name) for p in (first.directory / "checkpoints").iterdir() if p.name.isdigit())
    for step in states[-2:]:
        shutil.rmtree(first.directory / "checkpoints" / str(step))
    again = dlrun("resume", str(first.directory))
    assert again.code == 0, again.err
    assert "log.sinks" not in again.err
    assert before == [{**row, "time": 0} for row in again.rows]
    return first.directory


def test_files_of_a_run_and_its_resume(dlrun):
    pytest.importorskip("tensorboardX")
    directory = run_and_lose_the_last_state(dlrun, "csv", "tensorboard")
    assert table(directory) == rundir.read_metrics(directory)
    assert tensorboard_points(directory) == points(rundir.read_metrics(directory), np.float32)


def test_sinks_import_nothing_until_they_are_asked_for(shell):
    import subprocess

    code = "import sys, dlrun.train.sinks; print([m for m in ('tensorboardX', 'mlflow', 'wandb') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "[]"
