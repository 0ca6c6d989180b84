"""A user's own arrays: forms and targets that follow from them, and every way in which a file can be wrong."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrun.config.settings import Splitting
from dlrun.data import batches
from dlrun.data.dataset import Dataset, cut
from dlrun.data.features import inputs
from dlrun.data.sources.arrays import arrays
from dlrun.errors import Unfit
from tests.conftest import QUICK

RANDOM = np.random.default_rng(0)
N = 24
Y = np.arange(N) % 3
X = RANDOM.normal(size=(N, 4))


def saved(**given: Any) -> str:
    np.savez("a.npz", **given)
    return "a.npz"


def load(x: Any = X, y: Any = Y, **options: Any) -> Dataset:
    return arrays(path=saved(x=x, y=y), **options)


# What x is


@pytest.mark.parametrize(
    ("x", "kind", "shape", "dtype"),
    [
        (X, "rows", (4,), np.float64),
        (X.astype(np.float16), "rows", (4,), np.float16),
        (RANDOM.integers(-9, 9, (N, 4)), "rows", (4,), np.int64),
        (RANDOM.integers(0, 255, (N, 4), np.uint8), "rows", (4,), np.uint8),
        (X > 0, "rows", (4,), np.uint8),
        (RANDOM.integers(0, 255, (N, 5, 6), np.uint8), "image", (5, 6, 1), np.uint8),
        (RANDOM.integers(0, 255, (N, 5, 6, 3), np.uint8), "image", (5, 6, 3), np.uint8),
        (RANDOM.normal(size=(N, 5, 6, 7)), "image", (5, 6, 7), np.float64),
    ],
)
def test_forms(x: np.ndarray, kind: str, shape: tuple[int, ...], dtype: Any) -> None:
    data = load(x)
    assert (data.kind, data.inputs.shape, data.train.x.dtype) == (kind, shape, dtype)
    np.testing.assert_array_equal(data.train.x.reshape(x.shape), x.astype(dtype))
    cut(data, Splitting()).preprocessing()


@pytest.mark.parametrize(("largest", "dtype"), [(255, np.uint8), (256, np.uint16), (70_000, np.uint32)])
def test_tokens_only_when_it_is_said(largest: int, dtype: Any) -> None:
    x = RANDOM.integers(0, 9, (N, 5))
    x[3, 2] = largest
    assert load(x).kind == "rows"
    data = load(x, kind="tokens")
    assert (data.kind, data.inputs.shape, data.vocabulary, data.train.x.dtype) == ("tokens", (5,), largest + 1, dtype)
    np.testing.assert_array_equal(data.train.x, x)


# What y is


@pytest.mark.parametrize(
    ("y", "task", "classes", "numbers"),
    [
        (Y, "classification", ("0", "1", "2"), Y),
        (Y.astype(np.uint8)[:, None], "classification", ("0", "1", "2"), Y),
        (np.array([-5, 70, 3])[Y], "classification", ("-5", "3", "70"), np.array([0, 2, 1])[Y]),
        (np.array(["dog", "cat", "ant"])[Y], "classification", ("ant", "cat", "dog"), 2 - Y),
        (np.array([b"dog", b"cat", b"\xff"])[Y], "classification", ("cat", "dog", "\\xff"), np.array([1, 0, 2])[Y]),
        (Y > 0, "classification", ("false", "true"), Y > 0),
        (X[:, 0], "regression", ("y",), X[:, :1]),
        (X[:, :2], "regression", ("y0", "y1"), X[:, :2]),
        (X[:, :2] > 0, "multilabel", ("0", "1"), X[:, :2] > 0),
        ((X[:, :3] > 0).astype(int), "multilabel", ("0", "1", "2"), X[:, :3] > 0),
    ],
)
def test_targets(y: np.ndarray, task: str, classes: tuple[str, ...], numbers: np.ndarray) -> None:
    data = load(y=y)
    assert (data.task, data.classes) == (task, classes)
    assert data.train.y.dtype == {"classification": np.int32, "regression": np.float64, "multilabel": bool}[task]
    np.testing.assert_array_equal(data.train.y, numbers)


def test_the_task_can_be_said() -> None:
    np.testing.assert_array_equal(load(task="regression").train.y, Y[:, None].astype(np.float32))
    found = load(y=np.array([0.0, 2.0, 5.0])[Y], task="classification")
    assert found.classes == ("0", "2", "5")
    np.testing.assert_array_equal(found.train.y, Y)
    assert load(y=(X[:, :2] > 0).astype(float), task="multilabel").train.y.dtype == bool


# Which splits there are


def test_splits_that_are_there_are_kept_and_the_others_cut() -> None:
    names = {"train": 12, "val": 6, "test": 9}
    given = {f"{k}_{name}": v[:n] for name, n in names.items() for k, v in (("x", X), ("y", Y))}
    data = arrays(path=saved(**given))
    assert {name: len(getattr(data, name)) for name in names} == names
    assert cut(data, Splitting()) == data
    without_val = {k: v for k, v in given.items() if "val" not in k}
    data = cut(arrays(path=saved(**without_val)), Splitting(val=3))
    assert [len(rows) for rows in (data.train, data.val, data.test)] == [9, 3, 9]
    data = cut(load(), Splitting(val=3, test=6))
    assert [len(rows) for rows in (data.train, data.val, data.test)] == [15, 3, 6]


def test_a_folder_of_npy_files_is_the_same() -> None:
    Path("folder").mkdir()
    np.save("folder/x.npy", X)
    np.save("folder/y.npy", Y)
    np.save("folder/other.npy", Y)
    Path("folder/notes.txt").write_text("x")
    one, other = load(), arrays(path="folder")
    np.testing.assert_array_equal(one.train.x, other.train.x)
    np.testing.assert_array_equal(one.train.y, other.train.y)


def test_classes_are_numbered_alike_in_all_splits() -> None:
    train = np.array(["b", "a", "c"])[Y]
    data = arrays(path=saved(x_train=X, y_train=train, x_test=X[:2], y_test=np.array(["c", "c"])))
    assert data.test.y.tolist() == [2, 2]


# Where it lies


def big() -> np.ndarray:
    """48 MiB as float32."""
    return np.resize(X.astype(np.float32), (12 * 2**10, 2**10))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_an_archive_is_in_memory_once(dtype: Any, save: Callable) -> None:
    x = big().astype(dtype)
    save("a.npz", x=x, y=np.arange(len(x)) % 3)
    on_device = x.size * (1 if dtype is np.uint8 else 4)
    # What is wider than float32 is there beside it, unless it can stay on disk.
    held = on_device + (x.nbytes if dtype is np.float64 and save is np.savez_compressed else 0)
    del x
    tracemalloc.start()
    try:
        data = cut(arrays(path="a.npz"), Splitting())
        assert data.moments is not None
        table, rows = batches.one_table(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held < peak < held + 30e6, "the array, and pieces of it"
    assert sorted(np.concatenate(list(rows.values()))) == list(range(len(table["x"])))
    assert table["x"].ctypes.data % 64 == 0, "a device on CPU uses it where it is"
    for split in batches.SPLITS:
        part, found = getattr(data, split).x[:][[5, -1]], table["x"][rows[split][[5, -1]]]
        mean, std = data.moments
        expected = part if data.standardised_on_device else ((part - mean) / std).astype(np.float32)
        np.testing.assert_array_equal(found, expected)
    assert data.standardised_on_device == (dtype is not np.float64)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_layout_are_read_alike(order: Any) -> None:
    x = np.asarray(RANDOM.normal(size=(N, 3, 5)), order=order)
    np.savez_compressed("c.npz", x=x.astype(">f8"), y=Y)
    for path in (saved(x=x, y=Y), "c.npz"):
        found = arrays(path=path).train.x
        np.testing.assert_array_equal(found[..., 0], x)
        np.testing.assert_array_equal(found[[3, 1]][..., 0], x[[3, 1]])


# Numbers that float32 can't hold

Z = np.random.default_rng(1).normal(size=(400, 2))
SCALES: dict[str, np.ndarray] = {
    "seconds": 1.7e9 + 20 * Z,
    "milliseconds": (1.7e12 + 2e4 * Z).astype(np.int64),
    "unsigned nanoseconds": (1.7e18 + 2e10 * Z).astype(np.uint64),
    "tiny": 1e-25 * Z,
    "huge": 1e299 * Z,
    "denormal": 1e-310 * Z,
    "of both kinds": Z * [1e-200, 1e200] + [0, 1e203],
    "float32 with an offset": (1e7 + 200 * Z).astype(np.float32),
    "all of int64": np.where(Z > 0, np.iinfo(np.int64).max, np.iinfo(np.int64).min),
}


@pytest.mark.parametrize("scale", SCALES)
def test_inputs_are_standardised_in_float64(scale: str) -> None:
    x = SCALES[scale]
    data = cut(load(x, np.arange(400) % 2), Splitting(test=0.25))
    table, rows = batches.one_table(data)
    exact = data.train.x[:].astype(np.longdouble)
    for split in batches.SPLITS:
        expected = (getattr(data, split).x[:].astype(np.longdouble) - exact.mean(0)) / exact.std(0)
        found = table["x"][rows[split]]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected.astype(float), rtol=1e-6, atol=2e-7)
        kept = json.loads(json.dumps(data.preprocessing(), allow_nan=False))
        np.testing.assert_array_equal(inputs(kept, getattr(data, split).x[:]), found, "what data.json tells")
    assert "mean" not in table


@pytest.mark.parametrize("scale", SCALES)
def test_targets_are_standardised_in_float64(scale: str) -> None:
    y = SCALES[scale]
    data = cut(load(Z, y, task="regression"), Splitting(test=0.25))
    table, rows = batches.one_table(data)
    exact = data.train.y[:].astype(np.longdouble)
    expected = (data.test.y[:].astype(np.longdouble) - exact.mean(0)) / exact.std(0)
    assert table["y"].dtype == np.float32
    np.testing.assert_allclose(table["y"][rows["test"]], expected.astype(float), rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("place", ["x", "y"])
def test_whole_numbers_that_float64_merges_are_refused(place: str) -> None:
    z = np.arange(400)[:, None] % [7, 11]
    near = {"x": Z, "y": Z, place: 2**62 + z}
    with pytest.raises(Unfit, match=f"column 0 has whole numbers from {2**62} to {2**62 + 6}, too large"):
        load(task="regression", **near)
    load(task="regression", **{**near, place: 2**62 + (z << 20)})  # a spread that float64 tells well


@pytest.mark.parametrize("when", ["never", "always"])
@pytest.mark.parametrize("scale", ["seconds", "milliseconds", "tiny", "float32 with an offset"])
def test_a_network_learns_from_them(scale: str, when: str, dlrun: Callable) -> None:
    path = saved(x=SCALES[scale], y=Z.sum(1) > 0)
    words = ("epochs=20", "batch_size=16", "optim.lr=0.02", "eval.every=20epochs", f"stream.when={when}")
    done = dlrun("data=arrays", f"data.path={path}", *QUICK, *words)
    assert done.code == 0, done.err
    assert done.summary["test/accuracy"] > 0.9


# What is wrong


def broken(**given: Any) -> Callable[[], None]:
    return lambda: np.savez("a.npz", **given) and None


def content(raw: bytes) -> Callable[[], None]:
    return lambda: Path("a.npz").write_bytes(raw) and None


def folder(**files: bytes) -> Callable[[], None]:
    def make() -> None:
        Path("a.npz").mkdir()
        for name, raw in files.items():
            Path("a.npz", f"{name}.npy").write_bytes(raw)

    return make


def cut_off() -> None:
    np.savez("a.npz", x=X, y=Y)
    Path("a.npz").write_bytes(Path("a.npz").read_bytes()[:400])


def flipped() -> None:
    np.savez("a.npz", x=X, y=Y)
    raw = bytearray(Path("a.npz").read_bytes())
    raw[200] ^= 255
    Path("a.npz").write_bytes(raw)


def single() -> None:
    with open("a.npz", "wb") as file:
        np.save(file, X)


NAN, INF, HOLE = X.copy(), X.copy(), X.copy()
NAN[5, 1], INF[7, 2], HOLE[3, 0] = np.nan, -np.inf, 1e301
TWO = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}
WRONG: dict[str, tuple[Callable[[], Any], str, str]] = {
    "nothing": (lambda: None, "", "it does not exist"),
    "near": (lambda: np.savez("b.npz", x=X), "", "it does not exist (did you mean 'b.npz'?)"),
    "no path": (lambda: None, "data.path=null", "data.path=null: must name an .npz file"),
    "no folder": (lambda: None, "data.path=nope/a.npz", "there is no folder nope"),
    "empty file": (content(b""), "", "reading failed: it is empty"),
    "text": (content(b"1,2,3\n4,5,6\n"), "", "reading failed: File is not a zip file"),
    "cut off": (cut_off, "", "reading failed: File is not a zip file"),
    "flipped": (flipped, "", "x can't: Bad CRC-32"),
    "single": (single, "", "it is a single array: name its folder"),
    "empty archive": (broken(), "", "it holds nothing"),
    "empty folder": (folder(), "", "it holds nothing"),
    "text in a folder": (folder(x=b"text", y=b"text"), "", "x can't: it holds Python objects, or is not a NumPy file"),
    "empty in a folder": (folder(x=b"", y=b""), "", "x can't"),
    "other names": (broken(data=X, target=Y), "", "it holds data, target"),
    "no y": (broken(x=X), "", "must hold y: it holds x"),
    "no x_test": (broken(x_train=X, y_train=Y, y_test=Y), "", "must hold x_test (did you mean 'y_test'?)"),
    "no x_train": (broken(x_test=X, y_test=Y), "", "must hold x_train"),
    "both": (broken(x=X, y=Y, x_test=X, y_test=Y), "", "must hold x and y, or x_test, y_test and their like"),
    "objects in x": (broken(x=np.array([[1, None]] * N), y=Y), "", "x can't: it holds Python objects"),
    "objects in y": (broken(x=X, y=np.array([None, "a", 1] * 8)), "", "y can't: it holds Python objects"),
    "text in x": (broken(x=X.astype(str), y=Y), "", "must hold numbers in x, not <U"),
    "complex": (broken(x=X + 1j, y=Y), "", "must hold numbers in x, not complex128"),
    "dates": (broken(x=X, y=np.full(N, "2020", "M8[D]")), "", "must hold numbers in y, not datetime64[D]"),
    "a number": (broken(x=np.array(3.0), y=Y), "", "must hold rows in x, which is a single number"),
    "a number in y": (broken(x=X, y=np.array(3)), "", "must hold rows in y, which is a single number"),
    "mismatch": (broken(x=X, y=Y[:-1]), "", "must hold as many rows in x and y: they have 24 and 23"),
    "mismatch in test": (broken(**{**TWO, "x_test": X[:3]}), "", "as many rows in x_test and y_test: they have 3"),
    "other features": (broken(**{**TWO, "x_test": X[:, :3]}), "", "x_train is (24, 4), x_test (24, 3)"),
    "empty": (broken(x=X[:0], y=Y[:0]), "", "must hold rows: x is empty, of shape (0, 4)"),
    "no features": (broken(x=X[:, :0], y=Y), "", "must hold rows: x is empty, of shape (24, 0)"),
    "empty test": (broken(**{**TWO, "x_test": X[:0], "y_test": Y[:0]}), "", "x_test is empty"),
    "1 axis": (broken(x=X[:, 0], y=Y), "", "must hold x of shape (n, features) or (n, tokens), or of images"),
    "5 axes": (broken(x=X.reshape(N, 1, 1, 2, 2), y=Y), "", "it is (24, 1, 1, 2, 2)"),
    "images as rows": (broken(x=X.reshape(N, 2, 2), y=Y), "data.kind=rows", "(24, 2, 2), for data.kind=rows"),
    "rows as images": (broken(x=X, y=Y), "data.kind=image", "it is (24, 4), for data.kind=image"),
    "channels first": (broken(x=np.zeros((N, 3, 8, 8)), y=Y), "", "channels last, (n, H, W, C); x is (24, 3, 8, 8)"),
    "NaN": (broken(x=NAN, y=Y), "", "in x: row 5 has nan; numbers must be finite"),
    "inf": (broken(x=INF, y=Y), "", "row 7 has -inf; numbers must be finite"),
    "too large": (broken(x=HOLE, y=Y), "", "row 3 has 1e+301; numbers must be finite and up to 1e+300"),
    "NaN in test": (broken(**{**TWO, "x_test": NAN}), "", "row 5 has nan"),
    "NaN in y": (broken(x=X, y=NAN[:, 1]), "", "in y: row 5 has nan"),
    "NaN in classes": (broken(x=X, y=NAN[:, 1]), "data.task=classification", "in y: there are numbers that are not"),
    "fractional tokens": (broken(x=X, y=Y), "data.kind=tokens", "tokens are whole numbers, not floats"),
    "negative tokens": (broken(x=Y[:, None] - 1, y=Y), "data.kind=tokens", "tokens are from 0 to 1048575, not -1"),
    "huge tokens": (broken(x=Y[:, None] << 40, y=Y), "data.kind=tokens", "tokens are from 0 to 1048575"),
    "one class": (broken(x=X, y=Y * 0 + 7), "", "in y: there is only one class, 7, in all 24 rows"),
    "one text": (broken(x=X, y=np.full(N, "cat")), "", "there is only one class, cat, in all 24 rows"),
    "one number": (broken(x=X, y=X[:, 0] * 0 + 2.5), "", "in y: there is only one value, 2.5, in all 24 rows"),
    "one number of two": (broken(x=X, y=X[:, :2] * [1, 0] + 3), "", "only one value, 3, in all 24 rows of y1"),
    "single row": (broken(x=X, y=np.where(Y + X[:, 0] == Y[0] + X[0, 0], 9, Y)), "", "a single row of class 9"),
    "numbers as classes": (broken(x=X, y=np.arange(N)), "", "a single row of each of 24 classes (0, 1, 2, …)"),
    "unknown class": (broken(**{**TWO, "y_test": Y + 1}), "", "there is class 3 in y_test that no training row has"),
    "test of text": (broken(**{**TWO, "y_test": Y.astype(str)}), "", "y_test is of another form"),
    "labels in y_test": (broken(**{**TWO, "y_test": X[:, :2] > 0}), "", "y_test is of another form"),
    "3 axes in y": (broken(x=X, y=np.zeros((N, 2, 2), int)), "", "in y: its shape is (24, 2, 2)"),
    "numbers 0 to 2 in labels": (broken(x=X, y=np.stack([Y, Y], 1)), "", "labels are 0 and 1, (n, K)"),
    "no labels": (broken(x=X, y=np.zeros((N, 0), int)), "", "in y: its shape is (24, 0)"),
    "classes as labels": (broken(x=X, y=Y % 2), "data.task=multilabel", "labels are 0 and 1, (n, K)"),
    "labels as classes": (broken(x=X, y=X[:, :2] > 0), "data.task=classification", "classes are (n,)"),
    "text as numbers": (broken(x=X, y=Y.astype(str)), "data.task=regression", "there is text, which is no use"),
    "a word": (broken(x=X, y=Y), "data.task=ranking", "data.task=ranking: not allowed"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_errors(case: str, dlrun: Callable, own_folder: Path) -> None:
    make, words, message = WRONG[case]
    make()
    before = sorted(own_folder.rglob("*"))
    done = dlrun("data=arrays", *([] if "path" in words else ["data.path=a.npz"]), *words.split())
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    assert done.err.startswith("error: data.")
    assert message in done.err
    assert len(done.err) < 400
    assert sorted(own_folder.rglob("*")) == before


HOT2, Y3 = np.stack([Y > 0, Y > 1], 1).astype(int), np.zeros((N, 2, 2), int)
THREE = {**TWO, "x_val": X, "y_val": Y}
REAL = {**THREE, "y_train": X[:, 0], "y_val": X[:, 1], "y_test": X[:, 2]}
NAMED: dict[str, tuple[dict[str, np.ndarray], dict[str, Any], str]] = {
    "x_val": ({**THREE, "x_val": NAN}, {}, "valid numbers in x_val: row 5 has nan"),
    "x_train": ({**THREE, "x_train": NAN}, {}, "valid numbers in x_train: row 5 has nan"),
    "x_train alone": ({"x_train": NAN, "y_train": Y}, {}, "valid numbers in x_train: row 5 has nan"),
    "y_test": ({**REAL, "y_test": NAN[:, 1]}, {}, "usable targets in y_test: row 5 has nan"),
    "y_train": ({**REAL, "y_train": NAN[:, 1]}, {}, "usable targets in y_train: row 5 has nan"),
    "constant": ({**REAL, "y_train": X[:, 0] * 0}, {}, "usable targets in y_train: there is only one value, 0"),
    "one class": ({**THREE, "y_train": Y * 0}, {}, "usable targets in y_train: there is only one class, 0"),
    "unknown class": ({**THREE, "y_val": Y + 1}, {}, "usable targets: there is class 3 in y_val that no training row"),
    "another form": ({**THREE, "y_val": X[:, :2] > 0}, {}, "of one form: y_val is of another form, bool (24, 2)"),
    "labels": (
        {**THREE, "y_train": HOT2, "y_val": HOT2 * 2, "y_test": HOT2}, {}, "usable targets in y_val: its shape "
            "is (24, 2)"
    ),
    "fractions": ({**REAL, "y_train": Y, "y_val": Y * 1.0}, {"task": "classification"}, "usable targets in "
        "y_test: there are"),
    "axes": ({**THREE, "y_train": Y3, "y_val": Y3, "y_test": Y3}, {}, "usable targets in y_train: its shape is "
        "(24, 2, 2)"),
    "text": (
        {k: v.astype(str) if k[0] == "y" else v for k, v in THREE.items()}, {"task": "regression"},
        "usable targets in y_train: there is text",
    ),
    "tokens": (
        {**dict.fromkeys(THREE, Y[:, None]), **{k: Y for k in THREE if k[0] == "y"}, "x_val": Y[:, None] - 1},
        {"kind": "tokens"}, "valid numbers in x_val: tokens are from 0 to 1048575, not -1",
    ),
    "axis": ({**THREE, "x_train": X[:, 0]}, {}, "hold x_train of shape (n, features)"),
    "channels": ({"x_train": np.zeros((N, 3, 8, 8)), "y_train": Y}, {}, "last, (n, H, W, C); x_train is (24, 3"),
    "rows": ({"x_train": X, "y_train": Y[:-1]}, {}, "as many rows in x_train and y_train: they have 24 and 23"),
    "none": ({"x_train": X[:0], "y_train": Y[:0]}, {}, "hold rows: x_train is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_errors_name_the_array(case: str, own_folder: Path) -> None:
    given, how, message = NAMED[case]
    with pytest.raises(Unfit) as error:
        arrays(path=saved(**given), **how)
    assert message in error.value.allowed


def test_warnings_name_the_array(own_folder: Path) -> None:
    (warning,) = arrays(path=saved(**{k: v * 1.0 for k, v in TWO.items()})).warnings
    assert warning.startswith("y_train is float64, 3 different whole numbers")


def test_errors_name_no_key_twice() -> None:
    with pytest.raises(Unfit) as error:
        load(NAN)
    assert error.value.at("data") == (
        "data.path=a.npz: must hold valid numbers in x: row 5 has nan; numbers must be finite and up to 1e+300"
    )


# Real runs


@pytest.mark.parametrize("form", ["rows", "image", "folder"])
def test_a_network_learns_them(form: str, dlrun: Callable) -> None:
    y = np.array(["no", "yes"])[RANDOM.integers(0, 2, 200)]
    x = RANDOM.normal(size=(200, 4, 4)) + (y == "yes")[:, None, None]
    path = saved(x=x if form == "image" else x.reshape(200, 16), y=y)
    if form == "folder":
        path = "folder"
        Path(path).mkdir()
        np.save("folder/x.npy", x.astype(np.float32))  # read from where it lies
        np.save("folder/y.npy", y)
    done = dlrun("data=arrays", f"data.path={path}", *QUICK, "epochs=10", "batch_size=32", "optim.lr=0.01")
    assert done.code == 0, done.err
    assert done.run["classes"] == ["no", "yes"]
    assert done.summary["test/accuracy"] > 0.9


def test_a_network_learns_labels(dlrun: Callable) -> None:
    x = RANDOM.normal(size=(300, 6))
    done = dlrun("data=arrays", f"data.path={saved(x=x, y=x[:, :3] > 0)}", *QUICK, "epochs=20", "optim.lr=0.02")
    assert done.code == 0, done.err
    assert done.summary["test/accuracy"] > 0.85


def test_a_network_learns_two_numbers(dlrun: Callable) -> None:
    x = RANDOM.normal(size=(300, 6))
    y = x[:, :2] * [1000, 0.001] + [5000, 0]
    done = dlrun("data=arrays", f"data.path={saved(x=x, y=y)}", *QUICK, "epochs=30", "optim.lr=0.02")
    assert done.code == 0, done.err
    assert done.summary["test/r2"] > 0.9
