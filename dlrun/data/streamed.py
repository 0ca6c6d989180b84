"""Reads data in the background while the device computes, by means of Grain."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from dlrun.config.settings import Streaming
from dlrun.data import batches
from dlrun.data.dataset import Dataset, Rows
from dlrun.data.feed import Piece, Table

PIECE_BYTES = 2**22
"""The most bytes that a piece has, unless a single batch has more."""
PIECE_BATCHES = 32
"""The most batches that a piece has. With several batches, many short steps share one call of the compiled function."""
STEPS = 2**31  # no run has more steps


@dataclass(frozen=True)
class Pieces:
    """A data source for Grain. An item is a piece: a table with the rows of some batches, and their row numbers in it.

    Args:
      number: how many pieces there are.
      batches: gives, for the number of a piece, the row numbers in the split of its batches, (length, batch size).
      place: reads these rows and puts them on the devices.
    """

    number: int
    batches: Callable[[int], np.ndarray]
    place: Callable[[np.ndarray], tuple[Table, jax.Array]]

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: Any) -> tuple[Table, jax.Array]:
        return self.place(self.batches(int(index)))

    def iterate(self, how: Streaming) -> grain.DatasetIterator:
        """An iterator over the pieces whose threads read ahead. Its state is the number of the next piece."""
        # Threads rather than processes: copying rows, reading files and decoding images release the interpreter's lock,
        # and threads end with the process however that ends.
        options = grain.ReadOptions(num_threads=min(how.workers, how.prefetch), prefetch_buffer_size=how.prefetch)
        return iter(grain.MapDataset.source(self).to_iter_dataset(options))


class Streamed:
    """A :class:`~dlrun.data.feed.Feed` that reads rows piece by piece, ahead of the steps that need them.

    A piece is a small table of several batches, divided among the devices. Which rows it has follows from the step, so
    a resumed run only has to set the iterator to the piece of its step. With several processes each reads its share.

    Args:
      data: a data set with all three splits.
      batch_size: the batch size of training.
      seed: decides the order of training rows.
      replicated: the sharding of arrays that every device has whole.
      batch_sharding: the sharding of batches, which are divided among the devices.
      how: how to stream: threads, and how far ahead they read.
      loop: whether a call of the compiled function takes several batches.
    """

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        seed: int,
        replicated: NamedSharding,
        batch_sharding: NamedSharding,
        how: Streaming,
        *,
        loop: bool,
    ):
        self.data, self.batch_size, self.batch_sharding, self.how = data, batch_size, batch_sharding, how
        self.rows_sharding = NamedSharding(batch_sharding.mesh, PartitionSpec("batch"))
        self.moments: Table = jax.device_put(batches.device_moments(data), replicated)
        self.steps_per_epoch = len(data.train) // batch_size
        rows = np.arange(len(data.train))
        # The orders of two epochs are kept, as reading ahead begins the next epoch before one is over.
        self.order = lru_cache(2)(lambda epoch: batches.shuffled(rows, batch_size, seed=seed, epoch=epoch))

        self.length = self._length(batch_size, PIECE_BATCHES if loop else 1)
        self.pieces = Pieces(STEPS // self.length, self._training, partial(self._place, data.train)).iterate(how)
        self.number, self.piece = -1, None
        self.evaluations: dict[tuple[Any, ...], grain.DatasetIterator] = {}

    def train(self, step: int, most: int) -> Piece:
        """See :class:`~dlrun.data.feed.Feed`; gives no batches beyond the end of the piece."""
        number, start = divmod(step, self.length)
        if self.piece is None or number != self.number:
            if number != self.number + 1:
                self.pieces.set_state({"next_index": number})
            self.piece, self.number = next(self.pieces), number
        return *self.piece, start, min(most, self.length - start)

    def evaluate(self, split: str, batch_size: int, length: int, most: int) -> Iterator[Piece]:
        """See :class:`~dlrun.data.feed.Feed`."""
        rows: Rows = getattr(self.data, split)
        used, per_piece = -(-len(rows) // batch_size), self._length(batch_size, min(most, length))
        number = -(-used // per_piece)
        key = (split, batch_size, per_piece)
        if key not in self.evaluations:
            order = batches.in_order(np.arange(len(rows)), batch_size, number * per_piece)
            order = order.reshape(number, per_piece, -1)
            self.evaluations[key] = Pieces(number, order.__getitem__, partial(self._place, rows)).iterate(self.how)
        pieces = self.evaluations[key]
        pieces.set_state({"next_index": 0})
        for i, (table, order) in enumerate(pieces):
            yield table, order, 0, min(per_piece, used - i * per_piece)

    def batch(self, step: int) -> Table:
        """See :class:`~dlrun.data.feed.Feed`."""
        return self._place(self.data.train, self._steps(step, 1))[0]

    def close(self) -> None:
        """Ends the threads, each after the piece that it is reading."""
        for pieces in (self.pieces, *self.evaluations.values()):
            pieces.close()

    def _length(self, batch_size: int, most: int) -> int:
        """How many batches a piece has."""
        return max(1, min(most, PIECE_BATCHES, int(PIECE_BYTES / (batches.row_size(self.data) * batch_size))))

    def _training(self, number: int) -> np.ndarray:
        """The row numbers of a training piece's batches; a piece may span two epochs and go beyond the last step."""
        return self._steps(number * self.length, self.length)

    def _steps(self, first: int, count: int) -> np.ndarray:
        places = [divmod(step, self.steps_per_epoch) for step in range(first, first + count)]
        return np.stack([self.order(epoch)[batch] for epoch, batch in places])

    def _place(self, rows: Rows, index: np.ndarray) -> tuple[Table, jax.Array]:
        """A table of the rows at ``index`` (batches, batch size), and their row numbers in the table.

        For an index of -1 the table has zeros, and the row number stays -1. The table is divided so that each device
        has its share of every batch, one batch after the other.
        """
        count, size = index.shape
        devices = self.batch_sharding.mesh.size
        # from (batches, devices, share) to (devices, batches, share)
        by_device = index.reshape(count, devices, -1).swapaxes(0, 1).ravel()
        order = np.arange(count * size, dtype=np.int32).reshape(devices, count, -1).swapaxes(0, 1).reshape(count, size)
        order = np.where(index < 0, -1, order)

        def column(values: Any, convert: Callable[[np.ndarray], np.ndarray]) -> jax.Array:
            def share(where: Any) -> np.ndarray:
                numbers = by_device[where[0]]
                real = numbers >= 0
                converted = convert(values[numbers[real]])
                if real.all():
                    return converted
                padded = np.zeros((len(numbers), *converted.shape[1:]), converted.dtype)
                padded[real] = converted
                return padded

            return jax.make_array_from_callback((len(by_device), *values.shape[1:]), self.rows_sharding, share)

        x, y = column(rows.x, partial(batches.inputs, self.data)), column(rows.y, partial(batches.targets, self.data))
        table = {"x": x, "y": y}
        return {**table, **self.moments}, jax.make_array_from_callback(
            order.shape, self.batch_sharding, order.__getitem__
        )
