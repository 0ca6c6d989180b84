"""What a data source gives, and how validation and test rows are cut from it."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dlrun.nn.parts import Inputs
from dlrun.schema import Unfit
from dlrun.settings import Splitting

Array = np.ndarray


@dataclass(frozen=True)
class Rows:
    """Examples: ``x`` of shape (n, ...) as uint8 or float32, and class numbers ``y`` of shape (n,) as int32."""

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Array) -> "Rows":
        return Rows(self.x[index], self.y[index])


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test rows; the latter two are None where the source brings none.

    Args:
      kind: the form of an example, as in :class:`~dlrun.nn.parts.Inputs`.
      classes: names of the classes, in the order of their numbers.
    """

    kind: Literal["image", "rows"]
    classes: tuple[str, ...]
    train: Rows
    val: Rows | None = None
    test: Rows | None = None
    task: Literal["classification"] = "classification"

    @property
    def inputs(self) -> Inputs:
        return Inputs(self.kind, self.train.x.shape[1:])

    @property
    def outputs(self) -> int:
        return len(self.classes)


def cut(data: Dataset, how: Splitting) -> Dataset:
    """The data set with all three splits, the missing ones cut from training rows."""
    if data.test is None:
        train, test = stratified(data.train, how.test, seed=how.seed, key="test")
        data = replace(data, train=train, test=test)
    if data.val is None:
        # Another stream than the test cut's: the same one would draw correlated rows.
        train, val = stratified(data.train, how.val, seed=how.seed + 2**32, key="val")
        data = replace(data, train=train, val=val)
    return data


def stratified(rows: Rows, amount: float, *, seed: int, key: str) -> tuple[Rows, Rows]:
    """Splits rows in two, each class in the same proportion up to rounding (largest remainder); order is kept.

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
    classes, counts = np.unique(rows.y, return_counts=True)
    quota = counts * (size / n)
    take = np.floor(quota).astype(int)
    by_remainder = np.argsort(take - quota, kind="stable")
    take[by_remainder[: size - take.sum()]] += 1
    chosen = np.zeros(n, bool)
    for label, count in zip(classes, take, strict=True):
        chosen[random.permutation(np.flatnonzero(rows.y == label))[:count]] = True
    return rows[~chosen], rows[chosen]


def moments(x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the last axis of training examples, shape (channels,) each, as float32.

    For images those of each channel, for rows those of each feature; a constant one gets standard deviation 1.
    """
    axes, n = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    parts = [x[i : i + 4096] for i in range(0, len(x), 4096)]  # without a float64 copy of the whole set
    mean = sum(part.sum(axes, dtype=np.float64) for part in parts) / n
    square = sum(np.square(part - mean.astype(np.float32)).sum(axes, dtype=np.float64) for part in parts) / n
    std = np.sqrt(square - (mean - mean.astype(np.float32)) ** 2)
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)
