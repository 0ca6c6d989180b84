"""Synthetic data whose true classes and functions are known, for teaching and for testing methods."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dlrun.data.dataset import Array, Dataset, Rows
from dlrun.errors import Unfit

Kind = Literal["spirals", "moons", "blobs", "copy", "sine", "linear"]
Size = Annotated[int, Field(ge=1, le=10_000_000)]
FEATURES = 8  # of ``linear``


def synthetic(
    *,
    kind: Kind = "spirals",
    n: Size = 2000,
    test: Size = 1000,
    classes: Annotated[int, Field(ge=2, le=65536)] = 2,
    noise: Annotated[float, Field(ge=0, le=1e6)] = 0.05,
    flip: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    length: Annotated[int, Field(ge=2, le=65536)] = 64,
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0,
) -> Dataset:
    """Rows to classify (spirals, moons, blobs), tokens (copy), or a number to predict (sine, linear).

    - ``spirals``: two features, ``classes`` arms of one turn around the origin, radius up to 1 (Lang & Witbrock, 1988).
    - ``moons``: two features, two interlocking half circles of radius 1.
    - ``blobs``: two features, normal distributions around points on the unit circle.
    - ``copy``: ``length`` random tokens, of ``classes`` kinds; the class is the first token. Only a model that
      remembers across the whole row can predict it (similar tasks are in Hochreiter & Schmidhuber, 1997).
    - ``sine``: one feature x in [-π, π]; y = sin 2x.
    - ``linear``: eight standard normal features; y = w·x, w random with E‖w‖² = 1.

    Args:
      kind: which of these.
      n: rows for training and validation.
      test: rows for testing; neither ``flip`` nor, for numbers to predict, ``noise`` changes their targets.
      classes: how many classes; ``moons`` has two.
      noise: standard deviation of the normal noise that is added to the two features, or to the number to predict;
        none is added to tokens.
      flip: share of the first ``n`` rows that get a wrong class, drawn uniformly from the other classes.
      length: tokens in a row of ``copy``.
      seed: decides all random numbers here; another seed gives other rows of the same distribution.
    """
    if kind == "moons" and classes != 2:
        raise Unfit("classes", classes, "be 2 for moons")
    if flip and kind in ("sine", "linear"):
        raise Unfit("flip", flip, f"be 0 for {kind}, which has no classes; noise disturbs numbers to predict")
    random = np.random.Generator(np.random.PCG64(seed))
    total = n + test
    if kind in ("sine", "linear"):
        x, y = _sine(random, total) if kind == "sine" else _linear(random, total)
        y[:n] += noise * random.standard_normal((n, 1))
        rows = Rows(x.astype(np.float32), y.astype(np.float32))
        return Dataset("rows", ("y",), rows[np.arange(n)], test=rows[np.arange(n, total)], task="regression")
    # Classes are equally frequent, up to rounding, among the n rows and among the test rows.
    labels = np.concatenate([random.permutation(np.arange(size) % classes) for size in (n, test)])
    if kind == "copy":
        x = random.integers(0, classes, (total, length), np.uint8 if classes <= 256 else np.uint16)
        x[:, 0] = labels
    else:
        place = {"spirals": _spirals, "moons": _moons, "blobs": _blobs}[kind]
        x = place(random, labels, classes) + noise * random.standard_normal((total, 2))
        x = x.astype(np.float32)
    wrong = random.permutation(n)[: round(flip * n)]
    labels[wrong] = (labels[wrong] + random.integers(1, classes, len(wrong))) % classes
    rows = Rows(x, labels.astype(np.int32))
    names = tuple(map(str, range(classes)))
    train, held_out = rows[np.arange(n)], rows[np.arange(n, total)]
    if kind == "copy":
        return Dataset("tokens", names, train, test=held_out, vocabulary=classes)
    return Dataset("rows", names, train, test=held_out)


def _spirals(random: np.random.Generator, labels: Array, classes: int) -> Array:
    t = random.uniform(0, 1, len(labels))
    angle = 2 * np.pi * (t + labels / classes)
    return t[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def _moons(random: np.random.Generator, labels: Array, classes: int) -> Array:
    angle = random.uniform(0, np.pi, len(labels))
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.where(labels[:, None] == 0, upper, np.array([1.0, 0.5]) - upper)


def _blobs(random: np.random.Generator, labels: Array, classes: int) -> Array:
    angle = 2 * np.pi * labels / classes
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _sine(random: np.random.Generator, total: int) -> tuple[Array, Array]:
    x = random.uniform(-np.pi, np.pi, (total, 1))
    return x, np.sin(2 * x)


def _linear(random: np.random.Generator, total: int) -> tuple[Array, Array]:
    x, w = random.standard_normal((total, FEATURES)), random.standard_normal((FEATURES, 1)) / np.sqrt(FEATURES)
    return x, x @ w
