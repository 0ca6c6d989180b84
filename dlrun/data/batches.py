"""Which rows are in each batch: a function of (seed, step) alone, so that resuming needs only the step."""

import math
from functools import partial

import numpy as np

from dlrun.data import lazy
from dlrun.data.dataset import Dataset, Rows, standardised

SPLITS = ("train", "val", "test")


def one_table(data: Dataset) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """All splits in one table for the device, so that a program compiled for one split serves the others.

    Returns:
      The table, which has ``x`` and ``y`` of all rows and :func:`device_moments`; and each split's row numbers in it.
    """
    splits: dict[str, Rows] = {name: getattr(data, name) for name in SPLITS}
    convert = None if data.standardised_on_device else partial(inputs, data)
    x, numbers = lazy.joined([rows.x for rows in splits.values()], convert)
    ys = [targets(data, rows.y[:]) for rows in splits.values()]
    table = {"x": x, "y": np.empty((len(x), *ys[0].shape[1:]), np.result_type(*ys)), **device_moments(data)}
    for where, y in zip(numbers, ys, strict=True):
        table["y"][where] = y
    return table, dict(zip(splits, numbers, strict=True))


def inputs(data: Dataset, x: np.ndarray) -> np.ndarray:
    """Inputs as they go to the device: standardised, unless the device does that."""
    return x if data.standardised_on_device or data.moments is None else standardised(x, *data.moments)


def device_moments(data: Dataset) -> dict[str, np.ndarray]:
    """The ``mean`` and ``std`` that the device standardises ``x`` by; empty if it does not."""
    if data.moments is None or not data.standardised_on_device:
        return {}
    return {name: value.astype(np.float32) for name, value in zip(("mean", "std"), data.moments, strict=True)}


def targets(data: Dataset, y: np.ndarray) -> np.ndarray:
    """Targets as the loss takes them: numbers to predict are standardised."""
    return y if data.target_moments is None else standardised(y, *data.target_moments)


def size(data: Dataset) -> int:
    """How many bytes all rows take on the device."""
    return sum(len(getattr(data, name)) for name in SPLITS) * row_size(data)


def row_size(data: Dataset) -> int:
    """How many bytes a row takes on the device."""
    x, y = data.train.x, data.train.y
    x_bytes = x.dtype.itemsize if data.kind == "tokens" or x.dtype == np.uint8 else 4
    y_bytes = 4 if data.task == "regression" else y.dtype.itemsize
    return math.prod(x.shape[1:]) * x_bytes + math.prod(y.shape[1:]) * y_bytes


def shuffled(rows: np.ndarray, batch_size: int, *, seed: int, epoch: int) -> np.ndarray:
    """Row numbers of every training batch of an epoch, shape (len(rows) // batch_size, batch_size), int32.

    Each epoch has its own permutation. Rows that do not fill a last batch are left out, others in each epoch.
    """
    steps = len(rows) // batch_size
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    return random.permutation(rows)[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)


def in_order(rows: np.ndarray, batch_size: int, batches: int) -> np.ndarray:
    """Row numbers for evaluation, shape (batches, batch_size), int32: every row once, then -1."""
    order = np.full(batches * batch_size, -1, np.int32)
    order[: len(rows)] = rows
    return order.reshape(batches, batch_size)
