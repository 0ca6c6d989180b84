"""Made-up data: what is asked for is there, test rows are true, the seed decides."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlrun.data.sources.synthetic import synthetic
from dlrun.errors import Unfit
from tests.conftest import QUICK

ROWS = ("spirals", "moons", "blobs")
NUMBERS = ("sine", "linear")
KINDS = (*ROWS, "copy", *NUMBERS)


@pytest.mark.parametrize("kind", KINDS)
def test_forms(kind: Any) -> None:
    data = synthetic(kind=kind, n=90, test=41, classes=2 if kind == "moons" else 3)
    assert (len(data.train), len(data.test)) == (90, 41)
    assert data.val is None
    assert data.kind == ("tokens" if kind == "copy" else "rows")
    assert data.task == ("regression" if kind in NUMBERS else "classification")
    assert data.train.y.shape == ((90, 1) if kind in NUMBERS else (90,))
    assert data.train.y.dtype == (np.float32 if kind in NUMBERS else np.int32)
    assert data.train.x.dtype == (np.uint8 if kind == "copy" else np.float32)
    if kind not in NUMBERS:
        assert data.classes == tuple("012"[: len(data.classes)])
        for rows in (data.train, data.test):
            counts = np.bincount(rows.y)
            assert len(counts) == len(data.classes)
            assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_nothing_else(kind: Any) -> None:
    one, same, other = (synthetic(kind=kind, n=50, test=50, seed=seed) for seed in (1, 1, 2))
    for split in ("train", "test"):
        a, b, c = (getattr(data, split) for data in (one, same, other))
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.y, b.y)
        assert (a.x != c.x).any()
    assert not {row.tobytes() for row in one.train.x} & {row.tobytes() for row in one.test.x}


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_spirals_are_where_their_formula_puts_them(classes: int) -> None:
    for rows in vars(synthetic(classes=classes, noise=0.0)).values():
        if hasattr(rows, "x"):
            radius, angle = np.hypot(*rows.x.T), np.arctan2(rows.x[:, 1], rows.x[:, 0])
            arm = (angle / (2 * np.pi) - radius) * classes
            off = (arm - rows.y) % classes
            assert np.minimum(off, classes - off).max() < 0.01
            assert radius.max() <= 1
            assert radius.max() > 0.99


def test_moons_and_blobs_are_where_their_formulas_put_them() -> None:
    moons = synthetic(kind="moons", noise=0.0).train
    upper, lower = moons.x[moons.y == 0], moons.x[moons.y == 1]
    np.testing.assert_allclose(np.hypot(*upper.T), 1, rtol=1e-5)
    np.testing.assert_allclose(np.hypot(*(lower - [1, 0.5]).T), 1, rtol=1e-5)
    assert upper[:, 1].min() >= 0
    assert lower[:, 1].max() <= 0.5
    blobs = synthetic(kind="blobs", classes=4, n=4000, noise=0.1).train
    for label, centre in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        there = blobs.x[blobs.y == label]
        np.testing.assert_allclose(there.mean(0), centre, atol=0.02)
        np.testing.assert_allclose(there.std(0), 0.1, rtol=0.1)


@pytest.mark.parametrize("kind", ROWS[:1] + ROWS[2:])
def test_so_many_labels_are_wrong_and_only_in_training(kind: Any) -> None:
    clean, flipped = (synthetic(kind=kind, classes=4, n=1000, flip=flip) for flip in (0.0, 0.3))
    np.testing.assert_array_equal(clean.train.x, flipped.train.x)
    np.testing.assert_array_equal(clean.test.x, flipped.test.x)
    np.testing.assert_array_equal(clean.test.y, flipped.test.y)
    wrong = clean.train.y != flipped.train.y
    assert wrong.sum() == 300
    other = (flipped.train.y - clean.train.y)[wrong] % 4
    assert (np.bincount(other, minlength=4)[1:] > 70).all(), "each wrong class about as often"


def test_copy_is_the_first_token_and_nothing_else_tells() -> None:
    data = synthetic(kind="copy", classes=5, n=5000, length=20)
    for rows in (data.train, data.test):
        np.testing.assert_array_equal(rows.x[:, 0], rows.y)
    assert (data.vocabulary, data.inputs.shape, data.inputs.causal) == (5, (20,), False)
    for place in range(1, 20):
        assert abs((data.train.x[:, place] == data.train.y).mean() - 0.2) < 5 * math.sqrt(0.16 / 5000)
    assert synthetic(kind="copy", classes=300, n=300, test=1).train.x.dtype == np.uint16
    flipped = synthetic(kind="copy", classes=5, n=1000, flip=0.5)
    assert (flipped.train.x[:, 0] != flipped.train.y).sum() == 500


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_to_predict_are_true_in_test_rows(kind: Any) -> None:
    data = synthetic(kind=kind, n=3000, noise=0.5)
    if kind == "sine":
        error, test_error = (r.y - np.sin(2 * r.x) for r in (data.train, data.test))
    else:
        w = np.linalg.lstsq(data.test.x, data.test.y, rcond=None)[0]
        error, test_error = (r.y - r.x @ w for r in (data.train, data.test))
    assert abs(test_error).max() < 1e-5
    np.testing.assert_allclose(error.std(), 0.5, rtol=0.05)


def test_what_does_not_fit_the_kind() -> None:
    for options, message in (
        ({"kind": "moons", "classes": 3}, "classes=3 must be 2 for moons"),
        ({"kind": "sine", "flip": 0.1}, "flip=0.1 must be 0 for sine"),
    ):
        with pytest.raises(Unfit, match=message):
            synthetic(**options)


def test_a_network_learns_spirals_despite_wrong_labels(dlrun: Callable) -> None:
    done = dlrun(
        "data=synthetic", "data.flip=0.2", "model.widths=[64]", "epochs=30", "optim.lr=0.01", "log.plot=false",
        "eval.every=10epochs",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.summary["test/accuracy"] > 0.9
    assert done.summary["train/accuracy"] < 0.85


def test_a_network_learns_a_line(dlrun: Callable) -> None:
    done = dlrun("data=synthetic", "data.kind=linear", *QUICK, "epochs=20", "optim.lr=0.01", "eval.every=10epochs")
    assert done.code == 0, done.err
    assert done.summary["test/r2"] > 0.95


@pytest.mark.parametrize("words", ["data.kind=spiral", "data.kind=moons data.classes=3", "data.n=0", "data.flip=1"])
def test_errors(words: str, dlrun: Callable, own_folder: Any) -> None:
    done = dlrun("data=synthetic", *words.split())
    assert (done.code, len(done.err.splitlines()), list(own_folder.iterdir())) == (2, 1, [])
    assert done.err.startswith(f"error: {words.split()[-1]}: ")
