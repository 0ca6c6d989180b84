"""Where the compiled steps find their rows: a table on the device, and row numbers of the batches in it.

Small data is one table that stays there, :class:`Resident`; what does not fit is read while the device computes, a
piece at a time, :class:`~dlrun.data.streamed.Streamed`. Both give the same batches.
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
"""``x`` and ``y`` of rows, and ``mean`` and ``std`` that ``x`` is yet to be standardised by, if so."""
Piece = tuple[Table, Any, int, int]
"""A table, row numbers (batches, batch size) in it, and the first and the number of batches to take of those."""


class Feed(Protocol):
    """Gives rows to the compiled steps."""

    def train(self, step: int, most: int) -> Piece:
        """The batches of steps ``step`` up to ``step + most``, or fewer."""
        ...

    def evaluate(self, split: str, batch_size: int, length: int, most: int) -> Iterator[Piece]:
        """The batches of a split, up to ``most`` at a time; row numbers of -1 stand for no example.

        Args:
          length: of the longest split in batches, so that one compiled program serves all.
        """
        ...

    def batch(self, step: int) -> Table:
        """The rows of one training step."""
        ...

    def close(self) -> None:
        """Ends what reads in the background."""
        ...


def streams(data: Dataset, how: Streaming) -> bool:
    """Whether rows are read while training: by ``auto`` those beyond the memory, and those decoded when asked for."""
    if how.when != "auto":
        return how.when == "always"
    columns = [column for name in batches.SPLITS for column in (getattr(data, name).x, getattr(data, name).y)]
    return any(map(lazy.decoded, columns)) or batches.size(data) > how.memory * 1e9


class Resident:
    """All rows of a small data set on the devices.

    Args:
      table, rows: as :func:`dlrun.data.batches.stacked` gives them, the table on the devices.
      batch_size: of training.
      seed: of the order of training batches.
      divided: how batches lie on the devices.
    """

    def __init__(self, table: Table, rows: dict[str, np.ndarray], batch_size: int, seed: int, divided: NamedSharding):
        self.table, self.rows = table, rows
        self.batch_size, self.seed, self.divided = batch_size, seed, divided
        self.epoch, self.order = -1, np.empty(0)
        self.steps_per_epoch = len(self.rows["train"]) // batch_size

    def train(self, step: int, most: int) -> Piece:
        """As of :class:`Feed`; not beyond the epoch."""
        epoch, start = divmod(step, self.steps_per_epoch)
        if epoch != self.epoch:
            self.order, self.epoch = jax.device_put(self.shuffled(epoch), self.divided), epoch
        return self.table, self.order, start, min(most, self.steps_per_epoch - start)

    def evaluate(self, split: str, batch_size: int, length: int, most: int) -> Iterator[Piece]:
        """As of :class:`Feed`."""
        used = -(-len(self.rows[split]) // batch_size)
        order = jax.device_put(batches.in_order(self.rows[split], batch_size, length), self.divided)
        for start in range(0, used, most):
            yield self.table, order, start, min(most, used - start)

    def batch(self, step: int) -> Table:
        """As of :class:`Feed`."""
        epoch, start = divmod(step, self.steps_per_epoch)
        table, index = self.table, self.shuffled(epoch)[start]
        return {**table, "x": table["x"][index], "y": table["y"][index]}

    def close(self) -> None:
        """Nothing reads in the background."""

    def shuffled(self, epoch: int) -> np.ndarray:
        """Row numbers of the training batches of an epoch."""
        return batches.shuffled(self.rows["train"], self.batch_size, seed=self.seed, epoch=epoch)
