"""Which rows a step sees: a function of (seed, step) alone, so that resuming needs only the step."""

import numpy as np

from dlrun.data import lazy
from dlrun.data.dataset import Dataset, Rows

SPLITS = ("train", "val", "test")


def stacked(data: Dataset) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """All splits as one table for the device, so that a program compiled for one split serves the others.

    Returns:
      The table, ``x`` and ``y`` of all rows and ``mean`` and ``std`` that ``x`` is to be standardised by; and the
      row numbers of each split. Numbers to predict are standardised.
    """
    splits: dict[str, Rows] = {name: getattr(data, name) for name in SPLITS}
    x, numbers = lazy.joined([rows.x for rows in splits.values()])
    ys = [targets(data, rows.y[:]) for rows in splits.values()]
    table = {"x": x, "y": np.empty((len(x), *ys[0].shape[1:]), np.result_type(*ys))}
    for where, y in zip(numbers, ys, strict=True):
        table["y"][where] = y
    if data.moments is not None:
        table["mean"], table["std"] = data.moments
    return table, dict(zip(splits, numbers, strict=True))


def targets(data: Dataset, y: np.ndarray) -> np.ndarray:
    """Targets as the loss takes them: numbers to predict are standardised."""
    if data.target_moments is None:
        return y
    mean, std = data.target_moments
    return ((y - mean) / std).astype(np.float32)


def shuffled(rows: np.ndarray, batch_size: int, *, seed: int, epoch: int) -> np.ndarray:
    """Row numbers of every training batch of an epoch, shape (len(rows) // batch_size, batch_size), int32.

    A fresh permutation each epoch; the rows that do not fill a batch are left out, other ones each time.
    """
    steps = len(rows) // batch_size
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    return random.permutation(rows)[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)


def in_order(rows: np.ndarray, batch_size: int, batches: int) -> np.ndarray:
    """Row numbers for evaluation, shape (batches, batch_size), int32: every row once, then -1."""
    order = np.full(batches * batch_size, -1, np.int32)
    order[: len(rows)] = rows
    return order.reshape(batches, batch_size)
