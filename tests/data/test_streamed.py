"""Data that is read while training: the same results as data on the device, and memory that does not grow with it."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.streaming_memory import generate, measure
from dlrun.config.settings import Splitting, Streaming
from dlrun.data import batches, lazy
from dlrun.data.dataset import Dataset, Rows, cut, moments
from dlrun.data.feed import Resident, streams
from dlrun.data.streamed import Streamed
from dlrun.program import devices
from dlrun.runs import manifest
from tests.conftest import QUICK
from tests.digest import digest
from tests.program.test_devices import same_curves
from tests.train.test_signals import WORDS, interrupt, start, wait_for


class Decoding:
    """Images of which there are no arrays: each is made when it is asked for, and counted."""

    def __init__(self, n: int, shape: tuple[int, ...] = (4, 4, 1)):
        self.shape, self.dtype, self.asked = (n, *shape), np.dtype(np.uint8), []

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> np.ndarray:
        rows = np.arange(len(self))[index]
        self.asked.append(rows)
        return (rows.reshape(-1, *(1 for _ in self.shape[1:])) * np.ones(self.shape[1:], int) % 251).astype(np.uint8)


def mapped(folder: Path, x: np.ndarray) -> np.ndarray:
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


def dataset(kind: str, folder: Path) -> Dataset:
    """Training, validation and test rows of a kind; x follows from the row's number, and is not in memory."""
    n, random = 100, np.random.default_rng(0)
    classes = np.arange(n, dtype=np.int32) % 2
    match kind:
        case "image":
            data = Dataset(
                "image", ("a", "b"), Rows(mapped(folder, random.integers(0, 256, (n, 4, 4, 1), np.uint8)), classes)
            )
        case "decoded":
            data = Dataset("image", ("a", "b"), Rows(Decoding(n), classes))
        case "regression":
            y = random.normal(size=(n, 2)).astype(np.float32)
            data = Dataset(
                "rows",
                ("a", "b"),
                Rows(mapped(folder, random.normal(size=(n, 3)).astype(np.float32)), y),
                task="regression",
            )
        case "wide":
            x, y = 1.7e9 + random.normal(size=(n, 3)), 10**15 + random.integers(0, 10**9, (n, 2))
            data = Dataset("rows", ("a", "b"), Rows(mapped(folder, x), y), task="regression")
        case "tokens":
            x = random.integers(0, 9, (n, 5)).astype(np.uint16)
            data = Dataset("tokens", (), Rows(mapped(folder, x), x), task="language_modelling", vocabulary=9)
    return cut(data, Splitting(val=13, test=22))


KINDS = ("image", "decoded", "regression", "wide", "tokens")


def feeds(data: Dataset, how: Streaming | None = None, *, loop: bool = True) -> tuple[Resident, Streamed]:
    """Both feeds of a data set, in batches of 8."""
    mesh = devices.mesh(jax.devices()[:1])
    places = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, "batch"))
    table, rows = batches.one_table(data)
    resident = Resident(jax.device_put(table, places[0]), rows, 8, 3, places[1])
    return resident, Streamed(data, 8, 3, *places, how or Streaming(), loop=loop)


def rows_of(piece) -> list[dict[str, np.ndarray]]:
    """The batches of a piece as arrays; of examples that do not count, only where they are."""
    table, order, start, count = piece
    found = []
    for i in range(start, start + count):
        index = np.asarray(order)[i]
        batch = {k: np.asarray(table[k])[index[index >= 0]] for k in ("x", "y")}
        found.append({**batch, "there": index >= 0, **{k: np.asarray(table[k]) for k in ("mean", "std") if k in table}})
    return found


def assert_same_batches(one: list, other: list) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for k in a:
            np.testing.assert_array_equal(a[k], b[k])
            assert a[k].dtype == b[k].dtype


# The same batches


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches, so that pieces end within epochs and epochs within pieces."""
    monkeypatch.setattr("dlrun.data.streamed.PIECE_BATCHES", 3)


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_those_of_resident_data(kind: str, loop: bool, own_folder: Path) -> None:
    resident, streamed = feeds(dataset(kind, own_folder), loop=loop)
    assert streamed.steps_per_epoch == resident.steps_per_epoch == 8
    step, taken = 0, []
    while step < 30:  # nearly four epochs
        piece = streamed.train(step, 2)
        taken.append(piece[3])
        for i, found in enumerate(rows_of(piece)):
            assert_same_batches([found], rows_of(resident.train(step + i, 1)))
        step += piece[3]
    assert set(taken) == ({1, 2} if loop else {1})
    for step in (100, 17, 17, 101, 3):  # a resumed run begins anywhere, and what watches a run may look back
        assert_same_batches(rows_of(streamed.train(step, 1)), rows_of(resident.train(step, 1)))
        one, other = (feed.batch(step) for feed in (streamed, resident))
        for k in ("x", "y"):
            np.testing.assert_array_equal(one[k], other[k])
    streamed.close()


@pytest.mark.parametrize("kind", KINDS)
def test_splits_are_those_of_resident_data(kind: str, own_folder: Path) -> None:
    resident, streamed = feeds(dataset(kind, own_folder))
    for split in ("val", "test", "val", "val"):
        for most in (4, 2, 1):
            expected = [b for piece in resident.evaluate(split, 6, 4, most) for b in rows_of(piece)]
            pieces = list(streamed.evaluate(split, 6, 4, most))
            assert_same_batches([b for piece in pieces for b in rows_of(piece)], expected)
            assert {piece[1].shape[0] for piece in pieces} == {min(most, 3)}, "one compiled program"
        next(streamed.evaluate(split, 6, 4, 1))  # one that breaks off is no trouble to the next
    assert sum(len(b["y"]) for b in expected) == 13
    streamed.close()


def test_a_piece_holds_what_its_bytes_allow(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset("image", own_folder)  # 8 rows of 16 bytes and a label of 4: 160 bytes a batch
    for limit, length in ((1, 1), (160, 1), (319, 1), (320, 2), (10_000, 3)):
        monkeypatch.setattr("dlrun.data.streamed.PIECE_BYTES", limit)
        _, streamed = feeds(data)
        assert streamed.length == length
        assert streamed.train(0, 99)[0]["x"].shape == (8 * length, 4, 4, 1)
        streamed.close()


CNN = ("model=cnn", "model.channels=[4]", "model.width=8")


@pytest.mark.parametrize("model", [("model.widths=[16]",), pytest.param(CNN, marks=pytest.mark.slow)])
def test_a_streamed_and_resumed_run_equals_a_resident_one(dlrun, model: tuple[str, ...]) -> None:
    words = (*model, "dropout=0.1", "schedule=constant", "log.every=7", "log.plot=false", "augment=flip")
    resident = dlrun(*words, "epochs=3", "stream.when=never")
    streamed = dlrun(*words, "epochs=2", "stream.when=always", "stream.workers=3")
    assert streamed.summary["step"] % 3, "ends within a piece"
    resumed = dlrun("resume", str(streamed.directory), "epochs=3", "stream.prefetch=1")
    assert resumed.code == 0, resumed.err
    assert digest(streamed.directory) == digest(resident.directory)


def test_what_is_not_finite_is_found_in_streamed_data(dlrun) -> None:
    words = (*QUICK, "stream.when=always", "optim=sgd", "optim.lr=1e30")
    failed = dlrun(*words)
    assert failed.code == 1
    assert failed.err.splitlines()[-1] == dlrun(*words, "stream.when=never").err.splitlines()[-1]
    assert "not finite" in failed.err


# What is streamed


def test_auto_streams_what_exceeds_the_memory_and_what_is_decoded(own_folder: Path) -> None:
    plain, decoded = dataset("image", own_folder), dataset("decoded", own_folder)
    size = 100 * (16 + 4) / 1e9
    assert not streams(plain, Streaming(memory=size))
    assert streams(plain, Streaming(memory=0.99 * size))
    assert streams(decoded, Streaming())
    assert streams(plain, Streaming(when="always"))
    assert not streams(decoded, Streaming(when="never"))


def test_a_cut_leaves_rows_where_they_are(own_folder: Path) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (1000, 4, 4, 1), np.uint8)
    on_disk, decoding, y = mapped(own_folder, whole), Decoding(1000), np.arange(1000, dtype=np.int32) % 4
    expected = cut(Dataset("image", tuple("abcd"), Rows(whole, y)), Splitting())
    for x in (on_disk, decoding):
        data = cut(Dataset("image", tuple("abcd"), Rows(x, y)), Splitting())
        for split in batches.SPLITS:
            part, same = getattr(data, split), getattr(expected, split)
            assert part.x.base is x
            assert part.x.shape == same.x.shape
            assert part.x.dtype == np.uint8
            np.testing.assert_array_equal(part.y, same.y)
            if x is on_disk:
                np.testing.assert_array_equal(part.x[:], same.x)
                np.testing.assert_array_equal(part.x[np.array([3, 1, 3])], same.x[[3, 1, 3]])
    assert [len(rows) for rows in decoding.asked] == [100, 80, 100], "what tells each split"


def test_moments_of_rows_on_disk_are_those_of_rows_in_memory(own_folder: Path) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (9000, 16, 16, 3), np.uint8)
    part = lazy.pick(mapped(own_folder, whole), np.arange(9000) % 3 > 0)
    for found, expected in zip(moments(part), moments(whole[np.arange(9000) % 3 > 0]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_moments_of_decoded_rows_are_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 30_000
    x = Decoding(n)
    data = Dataset("image", ("a", "b"), Rows(lazy.pick(x, np.arange(n) >= 5_000), np.zeros(25_000, np.int32)))
    mean, std = data.moments
    (asked,) = x.asked
    assert len(set(asked.tolist())) == 10_000
    assert asked.min() >= 5_000, "of training rows alone"
    np.testing.assert_allclose((mean, std), [[125], [np.sqrt((251**2 - 1) / 12)]], rtol=0.02)
    again = Decoding(n)
    np.testing.assert_array_equal(lazy.sample(lazy.pick(again, np.arange(n) >= 5_000)), x[asked])
    monkeypatch.setattr(lazy, "SAMPLE_BYTES", 1600)
    assert lazy.sample(x).shape == (100, 4, 4, 1)
    assert lazy.sample(Decoding(20)).shape == (20, 4, 4, 1)


# How it ends


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("grain-prefetch")]


def test_close_ends_the_threads(own_folder: Path) -> None:
    data = dataset("image", own_folder)
    before = set(readers())
    _, streamed = feeds(data, Streaming(workers=3))
    streamed.train(0, 1)
    next(streamed.evaluate("val", 6, 4, 1))
    mine = set(readers()) - before
    assert len(mine) > 1
    streamed.close()
    streamed.close()
    for thread in mine:
        thread.join(10)
        assert not thread.is_alive()


def test_reading_that_fails_says_why(own_folder: Path) -> None:
    class Broken(Decoding):
        def __getitem__(self, index) -> np.ndarray:
            if len(self.asked) > 6:  # three of them tell whether the data changed
                raise OSError(5, "can't be read", "somewhere")
            return super().__getitem__(index)

    data = cut(Dataset("image", ("a", "b"), Rows(Broken(100), np.arange(100, dtype=np.int32) % 2)), Splitting())
    _, streamed = feeds(data)
    with pytest.raises(OSError, match="can't be read") as error:
        list(map(streamed.train, range(100), [1] * 100))
    assert error.value.filename == "somewhere"
    streamed.close()


@pytest.mark.parametrize(("word", "allowed"), [
    ("stream.when=sometimes", "auto, always, never"),
    ("stream.memory=0", "a number > 0"),
    ("stream.workers=0", "a whole number"),
    ("stream.prefetch=x", "a whole number"),
    ("stream.worker=2", "did you mean 'workers'"),
])  # fmt: skip
def test_bad_input(dlrun, own_folder: Path, word: str, allowed: str) -> None:
    refused = dlrun(word)
    assert refused.code == 2
    assert refused.err.startswith(f"error: {word.split('=')[0]}")
    assert allowed in refused.err
    assert list(own_folder.iterdir()) == []


# Processes of their own

STREAMED = ("stream.when=always", "stream.workers=2", "stream.prefetch=3")


@pytest.mark.slow
def test_grain_is_imported_for_streaming_only() -> None:
    code = "import sys; from dlrun.cli.main import main; main(sys.argv[1:]);"
    code += "print('grain._src.python.dataset' in sys.modules)"
    for words, expected in ((("stream.when=never",), "False"), (STREAMED, "True")):
        done = subprocess.run([sys.executable, "-c", code, *QUICK, *words], capture_output=True, text=True, timeout=120)
        assert done.stdout.splitlines()[-1] == expected, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [("model.widths=[16]", "norm=none"), CNN])
def test_four_devices_find_their_rows(shell, words: tuple[str, ...]) -> None:
    words = (*words, "optim=sgd", "optim.lr=0.05", "epochs=2", "log.every=5", "log.plot=false")
    env = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    streamed, resident = (shell(*words, f"stream.when={when}", **env) for when in ("always", "never"))
    assert (streamed.code, resident.code) == (0, 0), streamed.err
    assert streamed.run["devices"] == 4
    same_curves(resident.rows, streamed.rows)


@pytest.mark.slow
def test_two_processes_read_their_share(shell, own_folder: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    words = ("model.widths=[16]", "norm=none", "optim=sgd", "epochs=2", "log.every=5", "log.plot=false", *STREAMED)
    many = (f"distributed.coordinator=127.0.0.1:{port}", "distributed.processes=2", f"hydra.run.dir={own_folder}/two")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dlrun", *words, *many, f"distributed.process={n}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        for n in range(2)
    ]  # fmt: skip
    outcomes = [p.communicate(timeout=300) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], outcomes
    rows = [json.loads(line) for line in (own_folder / "two" / "metrics.jsonl").read_text().splitlines()]
    same_curves(shell(*words).rows, rows)


LONG = ("epochs=40", "log.every=7", "checkpoint.every=11steps")


@pytest.mark.slow
def test_killed_and_resumed_equals_never_killed(shell, own_folder: Path) -> None:
    whole = shell(*WORDS, *LONG, "stream.when=never")
    rng = random.Random(0)
    for attempt in range(10):
        directory = own_folder / f"killed{attempt}"
        process = start(*LONG, *STREAMED, directory=directory)
        wait_for(process, "step ")
        time.sleep(rng.uniform(0.1, 0.5))
        process.kill()
        process.communicate()
        steps = manifest.sound(directory / "checkpoints")
        if steps and steps[-1] < whole.summary["step"]:
            assert shell("resume", str(directory)).code == 0
            assert digest(directory) == digest(whole.directory)
            return
    raise AssertionError("no kill came in time")


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["train", "evaluate"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops(shell, own_folder: Path, phase: str, signum: int, code: int) -> None:
    directory = own_folder / "run"
    process = start("epochs=4", *STREAMED, directory=directory, waits_in=phase)
    interrupt(process, signum)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert time.monotonic() - began < 15
    assert "Traceback" not in err
    assert shell("resume", str(directory)).code == 0
    assert digest(directory) == digest(shell(*WORDS, "epochs=4", "stream.when=never").directory)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(own_folder: Path) -> None:
    """Four times the allowed memory; beyond what the program takes on a sliver of it."""
    small, whole = own_folder / "small", own_folder / "whole"
    generate(small, 16)
    generate(whole, 256)
    base, _ = measure(small, "stream.when=always")
    peak, _ = measure(whole, "stream.memory=0.064")
    assert peak - base < 64e6
    resident, _ = measure(whole, "stream.when=never")
    assert resident - base > 150e6, "the measure sees what is loaded"
