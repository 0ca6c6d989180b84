"""What a data source gives, and how validation and test rows are cut from it."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np

from dlrun.config.settings import Splitting
from dlrun.data import lazy
from dlrun.data.fingerprint import By, fingerprint
from dlrun.errors import Unfit
from dlrun.nn.parts import Inputs

Array = np.ndarray


@dataclass(frozen=True)
class Rows:
    """Examples, and what is asked of each.

    Args:
      x: shape (n, ...): numbers of any type, as they are before they are standardised, or token numbers. An array, or
        what is indexed like one and need not be in memory (:mod:`dlrun.data.lazy`); so may ``y``.
      y: class numbers (n,) as int32, labels (n, K) as bool, numbers to predict (n, K) of any type, or tokens (n, T).
      characters: of the text that the tokens stand for.
    """

    x: Array
    y: Array
    characters: int = 0

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Array) -> "Rows":
        return Rows(lazy.pick(self.x, index), lazy.pick(self.y, index))


class Encoder(Protocol):
    """How raw rows become features; fitted on training rows."""

    @property
    def scaled(self) -> Array:
        """Which features are to be standardised, bool (features,)."""
        ...

    def __call__(self, x: Array) -> Array:
        """Features (n, features) as float64, of raw rows (n, ...)."""
        ...

    def facts(self) -> dict[str, Any]:
        """What it learnt, as plain values: enough to encode other rows likewise."""
        ...


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test rows; the latter two are None where the source brings none.

    Args:
      kind: the form of an example, as in :class:`~dlrun.nn.parts.Inputs`.
      classes: names of the outputs: of classes in the order of their numbers, of labels, of numbers to predict.
      task: what is asked; for ``language_modelling`` the next token at every position.
      vocabulary: how many tokens there are, for ``tokens``.
      fit: makes an encoder from the training rows' ``x``, where features are learnt.
      facts: what else a result depends on, as plain values.
      encoder: the one that was fitted.
      fingerprint: of the rows as they were cut; see :mod:`dlrun.data.fingerprint`.
      warnings: what a person should know of it before a run starts, a line each.
    """

    kind: Literal["image", "rows", "tokens"]
    classes: tuple[str, ...]
    train: Rows
    val: Rows | None = None
    test: Rows | None = None
    task: Literal["classification", "multilabel", "regression", "language_modelling"] = "classification"
    vocabulary: int = 0
    fit: Callable[[Array], Encoder] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    encoder: Encoder | None = None
    fingerprint: dict[str, Any] = field(default_factory=dict, compare=False)
    warnings: tuple[str, ...] = ()

    @property
    def inputs(self) -> Inputs:
        causal = self.task == "language_modelling"
        return Inputs(self.kind, self.train.x.shape[1:], self.vocabulary, causal)

    @property
    def outputs(self) -> int:
        return self.vocabulary if self.task == "language_modelling" else len(self.classes)

    @cached_property
    def moments(self) -> tuple[Array, Array] | None:
        """Mean and standard deviation that inputs are standardised by, as float64; None for tokens.

        Of the training rows; where those are decoded when asked for, of :func:`dlrun.data.lazy.sample`.
        """
        if self.kind == "tokens":
            return None
        mean, std = moments(lazy.sample(self.train.x))
        if self.encoder is None:
            return mean, std
        return np.where(self.encoder.scaled, mean, 0), np.where(self.encoder.scaled, std, 1)

    @cached_property
    def target_moments(self) -> tuple[Array, Array] | None:
        """Mean and standard deviation of the training targets, as float64, where they are numbers to predict."""
        return moments(self.train.y) if self.task == "regression" else None

    @property
    def target_scale(self) -> Array:
        """The unit of outputs and targets in training, shape (K,): the training targets' standard deviation."""
        assert self.target_moments is not None
        return self.target_moments[1]

    @cached_property
    def on_device(self) -> bool:
        """Whether rows go to the device as they are, bytes and well-scaled float32, and are standardised there.

        Others are standardised on the host, in float64: what float32 can't hold would be lost before it is centred.
        """
        splits = [rows for rows in (self.train, self.val, self.test) if rows is not None]
        dtypes = {rows.x.dtype for rows in splits}
        if self.moments is None or dtypes == {np.dtype(np.uint8)}:
            return True
        mean, std = self.moments
        scaled = (2**-10 * np.abs(mean) <= std) & (std > 1e-18) & (std < 1e18)
        return dtypes == {np.dtype(np.float32)} and bool(scaled.all())

    @cached_property
    def spreads(self) -> dict[str, Array]:
        """By split, the standard deviation of each number to predict, as float64 (K,); 0 where it has one value."""
        return {name: _spread(rows.y)[1] for name, rows in vars(self).items() if isinstance(rows, Rows)}

    def characters_per_token(self, split: str) -> float:
        """Of a split's text."""
        rows: Rows = getattr(self, split)
        return rows.characters / rows.y.size

    @property
    def digest(self) -> str | None:
        """Short text that tells the rows of all splits and their classes from others: 12 hex digits."""
        if not self.fingerprint:
            return None
        told = json.dumps([self.fingerprint, list(self.classes)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    def preprocessing(self) -> dict[str, Any]:
        """All that turns a raw example into a model's input and its output into an answer, as plain values."""
        found: dict[str, Any] = {"kind": self.kind, "task": self.task, "shape": list(self.inputs.shape), **self.facts}
        found["classes"] = list(self.classes)
        if self.vocabulary:
            found["vocabulary"] = self.vocabulary
        if self.encoder is not None:
            found["encoder"] = self.encoder.facts()
        for name, pair in (("input", self.moments), ("target", self.target_moments)):
            if pair is not None:
                found[f"{name}_mean"], found[f"{name}_std"] = pair[0].tolist(), pair[1].tolist()
        if self.fingerprint:
            found["fingerprint"] = self.fingerprint
        return found


def cut(data: Dataset, how: Splitting, known_by: By = "files") -> Dataset:
    """The data set with all three splits, the missing ones cut from training rows, and its features encoded.

    Args:
      known_by: of :func:`dlrun.data.fingerprint.fingerprint`.
    """
    if type(data.train.x) is np.ndarray and None in (data.val, data.test):  # cut into row numbers, not into copies
        data = replace(data, train=replace(data.train, x=lazy.Subset(data.train.x, np.arange(len(data.train)))))
    if data.test is None:
        train, test = stratified(data.train, how.test, seed=how.seed, key="test")
        data = replace(data, train=train, test=test)
    if data.val is None:
        # Another stream than the test cut's: the same one would draw correlated rows.
        train, val = stratified(data.train, how.val, seed=how.seed + 2**32, key="val")
        data = replace(data, train=train, val=val)
    assert data.val is not None
    assert data.test is not None
    data = replace(data, fingerprint=fingerprint({k: getattr(data, k) for k in ("train", "val", "test")}, known_by))
    if data.fit is not None:
        encoder = data.fit(data.train.x[:])
        splits = {k: replace(rows, x=encoder(rows.x[:])) for k, rows in vars(data).items() if isinstance(rows, Rows)}
        data = replace(data, **splits, encoder=encoder, fit=None)
    return replace(data, warnings=(*data.warnings, *_without_r2(data)))


def _without_r2(data: Dataset) -> Iterator[str]:
    """Names the numbers to predict that do not vary in a split."""
    for split, spread in data.spreads.items() if data.task == "regression" else ():
        names = [name for name, one in zip(data.classes, spread, strict=True) if one == 0]
        if names:
            rest = "" if len(names) == len(data.classes) else ": it is the mean of the others"
            yield f"{', '.join(names[:3])}{', …' if names[3:] else ''} has one value only in {split}: no r2 there{rest}"


def stratified(rows: Rows, amount: float, *, seed: int, key: str) -> tuple[Rows, Rows]:
    """Splits rows in two, each class in the same proportion up to rounding (largest remainder); order is kept.

    A class always keeps a row in the first part.

    Args:
      amount: size of the second part, a fraction below 1 or a number of rows.
      seed: decides which rows.
      key: names the amount in errors.
    """
    n = len(rows)
    size = round(amount * n) if isinstance(amount, float) else amount
    if size == 0:
        raise Unfit(f".split.{key}", amount, "leave at least one row for it")
    if size >= n:
        raise Unfit(f".split.{key}", amount, f"leave rows for training: there are {n}")
    random = np.random.Generator(np.random.PCG64(seed))
    # Numbers to predict and labels that exclude each other not have no classes to keep in proportion.
    y = rows.y[:] if len(rows.y.shape) == 1 and rows.y.dtype.kind in "iu" else np.zeros(n, int)
    classes, counts = np.unique(y, return_counts=True)
    if size > n - len(classes):
        raise Unfit(f".split.{key}", amount, f"leave {len(classes)} rows for training, one a class: there are {n}")
    quota = counts * (size / n)
    take = np.floor(quota).astype(int)
    by_remainder = np.argsort(take - quota, kind="stable")
    while left := size - take.sum():
        free = by_remainder[(take < counts - 1)[by_remainder]]
        take[free[:left]] += 1
    chosen = np.zeros(n, bool)
    for label, count in zip(classes, take, strict=True):
        chosen[random.permutation(np.flatnonzero(y == label))[:count]] = True
    return rows[~chosen], rows[chosen]


def moments(x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the last axis of training examples, shape (channels,) each, as float64.

    For images those of each channel, for rows those of each feature; a constant one gets standard deviation 1.
    """
    mean, std = _spread(x)
    return mean, np.where(std > 0, std, 1)


def _spread(x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation as of :func:`moments`, but 0 for a constant: also one up to float64's rounding.

    Around the first example, so that nothing cancels, and in units of the largest difference, whose square would
    overflow or vanish.
    """
    n, channels = len(x), x.shape[-1]
    size = max(1, 2**18 // math.prod(x.shape[1:]))  # of a part: the whole set may not fit into memory
    first = x[:1].astype(np.float64).reshape(-1, channels)[0]
    origin = np.resize(first, math.prod(x.shape[1:]))

    def parts() -> Iterator[tuple[float, Array]]:
        """Shares of all examples, and their differences from the first one, an example a row."""
        for part in (x[i : i + size] for i in range(0, n, size)):
            yield len(part) / n, part.reshape(len(part), -1).astype(np.float64) - origin

    def by_channel(values: Array) -> Array:
        return values.reshape(-1, channels)

    mean, largest = np.zeros(channels), np.zeros(channels)
    for share, part in parts():
        mean += share * by_channel(part.mean(0)).mean(0)
        largest = np.maximum(largest, by_channel(np.maximum(part.max(0), -part.min(0))).max(0))
    unit, square = np.where(largest > 0, largest, 1), np.zeros(channels)
    centre, units = np.resize(mean, len(origin)), np.resize(unit, len(origin))
    for share, part in parts():
        square += share * by_channel(np.square((part - centre) / units).mean(0)).mean(0)
    rounding = 4 * np.finfo(np.float64).eps * np.abs(first)
    return first + mean, np.where(largest > rounding, unit * np.sqrt(square), 0)


def standardised(x: Array, mean: Array, std: Array) -> Array:
    """(x - mean) / std of raw numbers as float32, computed in float64: what a model takes and is compared with."""
    found = lazy.aligned(x.shape, np.dtype(np.float32))
    for piece in lazy.pieces(x):
        with np.errstate(over="ignore"):  # infinite, which is looked for in what comes out
            found[piece] = (x[piece].astype(np.float64) - mean) / std
    return found
