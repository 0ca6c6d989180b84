"""What a data source gives, and how validation and test rows are cut from it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np

from dlrun.data import lazy
from dlrun.data.fingerprint import By, fingerprint
from dlrun.nn.parts import Inputs
from dlrun.schema import Unfit
from dlrun.settings import Splitting

Array = np.ndarray


@dataclass(frozen=True)
class Rows:
    """Examples, and what is asked of each.

    Args:
      x: shape (n, ...): uint8 or float32, or token numbers of any integer type. An array, or what is indexed like one
        and need not be in memory (:mod:`dlrun.data.lazy`); so may ``y``.
      y: class numbers (n,) as int32, labels (n, K) as bool, numbers to predict (n, K) as float32, or tokens (n, T).
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
        """Features (n, features) as float32, of raw rows (n, ...)."""
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

    @property
    def inputs(self) -> Inputs:
        causal = self.task == "language_modelling"
        return Inputs(self.kind, self.train.x.shape[1:], self.vocabulary, causal)

    @property
    def outputs(self) -> int:
        return self.vocabulary if self.task == "language_modelling" else len(self.classes)

    @cached_property
    def moments(self) -> tuple[Array, Array] | None:
        """Mean and standard deviation that inputs are standardised by; None for tokens.

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
        """Mean and standard deviation of the training targets, where they are numbers to predict."""
        return moments(self.train.y) if self.task == "regression" else None

    @property
    def target_scale(self) -> Array:
        """The unit of outputs and targets in training, shape (K,): the training targets' standard deviation."""
        assert self.target_moments is not None
        return self.target_moments[1]

    def characters_per_token(self, split: str) -> float:
        """Of a split's text."""
        rows: Rows = getattr(self, split)
        return rows.characters / rows.y.size

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
    return data


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
    y = rows.y if rows.y.ndim == 1 and rows.y.dtype.kind in "iu" else np.zeros(n, int)
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
    """Mean and standard deviation of the last axis of training examples, shape (channels,) each, as float32.

    For images those of each channel, for rows those of each feature; a constant one gets standard deviation 1.
    """
    axes, n = tuple(range(len(x.shape) - 1)), math.prod(x.shape[:-1])
    size = max(1, 2**21 // math.prod(x.shape[1:]))  # of a part: the whole set may not fit into memory

    def parts() -> Iterator[Array]:
        return (x[i : i + size] for i in range(0, len(x), size))

    zero = np.zeros(x.shape[-1])
    mean = sum((part.sum(axes, dtype=np.float64) for part in parts()), zero) / n
    around = mean.astype(np.float32)
    square = sum((np.square(part - around).sum(axes, dtype=np.float64) for part in parts()), zero) / n
    std = np.sqrt(square - (mean - around) ** 2)
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)
