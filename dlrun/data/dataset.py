"""A data set as a data source returns it, and how validation and test rows are split off."""

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
    """Examples and their targets.

    Args:
      x: inputs (n, ...): numbers of any type, not yet standardised, or token numbers. Either an array, or something
        that is indexed like one and need not be in memory (:mod:`dlrun.data.lazy`).
      y: targets, an array or the like: class numbers (n,) as int32; labels (n, K) as bool, of which several may be true
        at once; numbers to predict (n, K) of any type; or tokens (n, T).
      characters: for tokens, how many characters of text the tokens ``y`` stand for.
    """

    x: Array
    y: Array
    characters: int = 0

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Array) -> "Rows":
        return Rows(lazy.pick(self.x, index), lazy.pick(self.y, index))


class Encoder(Protocol):
    """Turns raw rows, such as those of a table, into features; it is fitted on training rows."""

    @property
    def scaled(self) -> Array:
        """Which features are to be standardised, bool (features,)."""
        ...

    def __call__(self, x: Array) -> Array:
        """The features of raw rows (n, ...), as float64 (n, features)."""
        ...

    def facts(self) -> dict[str, Any]:
        """What it learnt from training rows, as plain values that suffice to encode other rows in the same way."""
        ...


@dataclass(frozen=True)
class Dataset:
    """Training rows, and validation and test rows if the source has any.

    Args:
      kind: what an example is, as in :class:`~dlrun.nn.parts.Inputs`.
      classes: the name of each output: of each class, in the order of their numbers, or of each label or number to
        predict; empty for ``language_modelling``.
      train, val, test: the rows; dlrun splits ``val`` and ``test`` off the training rows where they are None.
      task: what a model is to predict; for ``language_modelling`` the next token at every position.
      vocabulary: how many different tokens there are, for ``tokens``.
      fit: makes an encoder from the training rows' ``x``; None where ``x`` needs no encoding.
      facts: what else a result depends on, as plain values; they are saved in the run's data.json.
      encoder: the encoder that ``fit`` made; dlrun sets it.
      fingerprint: identifies the rows (:mod:`dlrun.data.fingerprint`); dlrun sets it.
      warnings: what a person should know about the data before a run starts, a line each.
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
        """What a model is told about the examples."""
        causal = self.task == "language_modelling"
        return Inputs(self.kind, self.train.x.shape[1:], self.vocabulary, causal)

    @property
    def outputs(self) -> int:
        """How many outputs a model has."""
        return self.vocabulary if self.task == "language_modelling" else len(self.classes)

    @cached_property
    def moments(self) -> tuple[Array, Array] | None:
        """The mean and standard deviation that inputs are standardised by, float64 (channels,) each; None for tokens.

        They are those of the training rows; if rows are decoded from files, those of :func:`dlrun.data.lazy.sample`.
        """
        if self.kind == "tokens":
            return None
        mean, std = moments(lazy.sample(self.train.x))
        if self.encoder is None:
            return mean, std
        return np.where(self.encoder.scaled, mean, 0), np.where(self.encoder.scaled, std, 1)

    @cached_property
    def target_moments(self) -> tuple[Array, Array] | None:
        """Mean and standard deviation of the training targets, float64 (K,) each; None unless they are numbers."""
        return moments(self.train.y) if self.task == "regression" else None

    @property
    def target_scale(self) -> Array:
        """The training targets' standard deviation, (K,), which is the unit of outputs and targets in training."""
        assert self.target_moments is not None
        return self.target_moments[1]

    @cached_property
    def standardised_on_device(self) -> bool:
        """Whether the device standardises inputs: it does bytes, and float32 numbers of moderate scale.

        All others are standardised on the host in float64, as float32 would lose digits of them before the mean is
        subtracted. Tokens are standardised nowhere; for them it is true.
        """
        splits = [rows for rows in (self.train, self.val, self.test) if rows is not None]
        dtypes = {rows.x.dtype for rows in splits}
        if self.moments is None or dtypes == {np.dtype(np.uint8)}:
            return True
        mean, std = self.moments
        moderate = (2**-10 * np.abs(mean) <= std) & (std > 1e-18) & (std < 1e18)
        return dtypes == {np.dtype(np.float32)} and bool(moderate.all())

    @cached_property
    def spreads(self) -> dict[str, Array]:
        """For each split, the standard deviation of each number to predict, float64 (K,); 0 if all rows are equal."""
        return {name: _spread(rows.y)[1] for name, rows in vars(self).items() if isinstance(rows, Rows)}

    def characters_per_token(self, split: str) -> float:
        """How many characters of a split's text there are for each of its tokens, on average."""
        rows: Rows = getattr(self, split)
        return rows.characters / rows.y.size

    @property
    def digest(self) -> str | None:
        """12 hexadecimal digits that identify the rows of all splits and their classes; None before the split."""
        if not self.fingerprint:
            return None
        content = json.dumps([self.fingerprint, list(self.classes)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def preprocessing(self) -> dict[str, Any]:
        """All that is needed to turn a raw example into a model's input and its output into an answer, as plain values.

        It is the content of data.json.
        """
        facts: dict[str, Any] = {"kind": self.kind, "task": self.task, "shape": list(self.inputs.shape), **self.facts}
        facts["classes"] = list(self.classes)
        if self.vocabulary:
            facts["vocabulary"] = self.vocabulary
        if self.encoder is not None:
            facts["encoder"] = self.encoder.facts()
        for name, pair in (("input", self.moments), ("target", self.target_moments)):
            if pair is not None:
                facts[f"{name}_mean"], facts[f"{name}_std"] = pair[0].tolist(), pair[1].tolist()
        if self.fingerprint:
            facts["fingerprint"] = self.fingerprint
        return facts


def cut(data: Dataset, how: Splitting, known_by: By = "files") -> Dataset:
    """Splits a data set: missing splits are cut from training rows, then rows are fingerprinted and features encoded.

    Args:
      how: the settings below ``split``.
      known_by: how :func:`dlrun.data.fingerprint.fingerprint` identifies rows that are not in memory.

    Raises:
      Unfit: if a split would be left without rows.
    """
    if type(data.train.x) is np.ndarray and None in (data.val, data.test):  # so that cutting copies nothing
        data = replace(data, train=replace(data.train, x=lazy.Subset(data.train.x, np.arange(len(data.train)))))
    if data.test is None:
        train, test = stratified(data.train, how.test, seed=how.seed, key="test")
        data = replace(data, train=train, test=test)
    if data.val is None:
        # Another seed than that of the test rows: with the same random numbers the two draws would be correlated.
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
    """Warnings about splits in which a number to predict does not vary: there r2 is not defined."""
    for split, spread in data.spreads.items() if data.task == "regression" else ():
        names = [name for name, one in zip(data.classes, spread, strict=True) if one == 0]
        if names:
            rest = "" if len(names) == len(data.classes) else ", and r2 is the mean over the others"
            shown = f"{', '.join(names[:3])}{', …' if names[3:] else ''}"
            yield f"{shown} has only one value in {split}, so it has no r2 there{rest}"


def stratified(rows: Rows, amount: float, *, seed: int, key: str) -> tuple[Rows, Rows]:
    """Splits rows at random into two parts, in which each class has the same share up to rounding.

    Rows stay in order. Shares are rounded by largest remainder. Every class keeps at least one row in the first part.

    Args:
      amount: size of the second part: a float is a fraction of all rows, an int a number of rows.
      seed: decides which rows go where.
      key: ``val`` or ``test``: the key of ``amount`` in the section ``split``, for errors.
    """
    n = len(rows)
    size = round(amount * n) if isinstance(amount, float) else amount
    if size == 0:
        raise Unfit(f".split.{key}", amount, "leave at least one row for it")
    if size >= n:
        raise Unfit(f".split.{key}", amount, f"leave rows for training: there are {n}")
    random = np.random.Generator(np.random.PCG64(seed))
    # Only class numbers have shares to keep; labels (several may be true at once) and numbers to predict have none.
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
    """Mean and standard deviation over all axes but the last, float64 (channels,) each.

    These are those of each channel of images, or of each feature of rows. A constant gets standard deviation 1.
    """
    mean, std = _spread(x)
    return mean, np.where(std > 0, std, 1)


def _spread(x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation as in :func:`moments`, except that a constant, up to float64's rounding, gets 0.

    They are computed from differences to the first example, so that no digits cancel, and in units of the largest
    difference, so that no square overflows or vanishes.
    """
    n, channels = len(x), x.shape[-1]
    size = max(1, 2**18 // math.prod(x.shape[1:]))  # examples at a time: the whole set may not fit into memory
    first = x[:1].astype(np.float64).reshape(-1, channels)[0]
    origin = np.resize(first, math.prod(x.shape[1:]))

    def parts() -> Iterator[tuple[float, Array]]:
        """For each part, its share of all examples, and its examples' differences from the first one, one a row."""
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
    """(x - mean) / std as float32, computed in float64."""
    result = lazy.aligned(x.shape, np.dtype(np.float32))
    for piece in lazy.pieces(x):
        with np.errstate(over="ignore"):  # to infinity, which makes the loss non-finite, and that is reported
            result[piece] = (x[piece].astype(np.float64) - mean) / std
    return result
