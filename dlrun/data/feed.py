"""Gives data to the compiled steps: a table of rows on the device, and for each batch its row numbers in the table.

A small data set is one table that stays on the device (:class:`Resident`). A larger one is read while the device
computes, a piece at a time (:class:`~dlrun.data.streamed.Streamed`). Both give the same batches.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import NamedSharding

from dlrun.config.settings import Streaming
from dlrun.data import batches, lazy
from dlrun.data.dataset import Dataset

Table = dict[str, Any]
"""``x`` and ``y`` of some rows; also ``mean`` and ``std`` if the device is to standardise ``x`` by them."""
Piece = tuple[Table, Any, int, int]
"""A table, the row numbers of batches in it (batches, batch size), the first batch to take, and how many to take."""


class Feed(Protocol):
    """Gives the batches of training and evaluation to the compiled steps, which work through a :data:`Piece` a call."""

    def train(self, step: int, most: int) -> Piece:
        """The batches of the training steps from ``step`` on, ``most`` of them or fewer."""
        ...

    def evaluate(self, split: str, batch_size: int, length: int, most: int) -> Iterator[Piece]:
        """The batches of a split, up to ``most`` at a time; -1 as a row number stands for no example.

        Args:
          length: how many batches the longest split has; row numbers of all splits come in arrays of that length, so
            that one compiled program serves them all.
        """
        ...

    def batch(self, step: int) -> Table:
        """The rows of one training step."""
        ...

    def close(self) -> None:
        """Stops reading in the background."""
        ...


def streams(data: Dataset, how: Streaming) -> bool:
    """Whether rows are read while training; ``auto``: if they exceed ``how.memory`` GB or are decoded from files."""
    if how.when != "auto":
        return how.when == "always"
    columns = [column for name in batches.SPLITS for column in (getattr(data, name).x, getattr(data, name).y)]
    return any(map(lazy.decoded, columns)) or batches.size(data) > how.memory * 1e9


class Resident:
    """A :class:`Feed` that keeps all rows of a small data set on the devices.

    Args:
      table, rows: from :func:`dlrun.data.batches.one_table`; the table is on the devices.
      batch_size: the batch size of training.
      seed: decides the order of training rows.
      batch_sharding: the sharding of batches, which are divided among the devices.
    """

    def __init__(
        self, table: Table, rows: dict[str, np.ndarray], batch_size: int, seed: int, batch_sharding: NamedSharding
    ):
        self.table, self.rows = table, rows
        self.batch_size, self.seed, self.batch_sharding = batch_size, seed, batch_sharding
        self.epoch, self.order = -1, np.empty(0)
        self.steps_per_epoch = len(self.rows["train"]) // batch_size

    def train(self, step: int, most: int) -> Piece:
        """See :class:`Feed`; gives no batches beyond the end of the epoch."""
        epoch, start = divmod(step, self.steps_per_epoch)
        if epoch != self.epoch:
            self.order, self.epoch = jax.device_put(self.shuffled(epoch), self.batch_sharding), epoch
        return self.table, self.order, start, min(most, self.steps_per_epoch - start)

    def evaluate(self, split: str, batch_size: int, length: int, most: int) -> Iterator[Piece]:
        """See :class:`Feed`."""
        used = -(-len(self.rows[split]) // batch_size)
        order = jax.device_put(batches.in_order(self.rows[split], batch_size, length), self.batch_sharding)
        for start in range(0, used, most):
            yield self.table, order, start, min(most, used - start)

    def batch(self, step: int) -> Table:
        """See :class:`Feed`."""
        epoch, start = divmod(step, self.steps_per_epoch)
        table, rows = self.table, self.shuffled(epoch)[start]
        return {**table, "x": table["x"][rows], "y": table["y"][rows]}

    def close(self) -> None:
        """Nothing reads in the background."""

    def shuffled(self, epoch: int) -> np.ndarray:
        """The row numbers of an epoch's training batches, (batches, batch size)."""
        return batches.shuffled(self.rows["train"], self.batch_size, seed=self.seed, epoch=epoch)
