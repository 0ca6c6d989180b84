"""Reads data while the device computes, through Grain."""

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
"""A piece has so many bytes at most, or a single batch."""
PIECE_BATCHES = 32
"""A piece has so many batches at most, so that steps of a tenth of a millisecond share a call."""
STEPS = 2**31  # no run has more


@dataclass(frozen=True)
class Pieces:
    """A data source for Grain. An item is a piece: a table with the rows of some batches, and their row numbers in it.

    Args:
      number: how many pieces there are.
      batches: gives, by the number of a piece, the row numbers in the data set of its batches, (length, batch size).
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
    """Gives rows to the compiled steps, and reads them piece by piece, ahead of the steps that need them.

    A piece is a small table of several batches, divided among the devices. Which rows it has follows from the step, so
    that a resumed run only sets the iterator to the piece of its step. With several processes each reads its share.

    Args:
      data: with all three splits.
      batch_size: of training.
      seed: decides the order of training rows.
      everywhere: the sharding of arrays that every device has whole.
      divided: the sharding of batches, which are divided among the devices.
      how: how to stream: threads, and how far ahead they read.
      loop: whether a call of the compiled function takes several batches.
    """

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        seed: int,
        everywhere: NamedSharding,
        divided: NamedSharding,
        how: Streaming,
        *,
        loop: bool,
    ):
        self.data, self.batch_size, self.divided, self.how = data, batch_size, divided, how
        self.rows_divided = NamedSharding(divided.mesh, PartitionSpec("batch"))
        self.moments: Table = jax.device_put(batches.device_moments(data), everywhere)
        self.steps_per_epoch = len(data.train) // batch_size
        rows = np.arange(len(data.train))
        # The order of two epochs is kept, as reading ahead begins the next one.
        self.order = lru_cache(2)(lambda epoch: batches.shuffled(rows, batch_size, seed=seed, epoch=epoch))

        self.length = self._length(batch_size, PIECE_BATCHES if loop else 1)
        self.pieces = Pieces(STEPS // self.length, self._training, partial(self._place, data.train)).iterate(how)
        self.number, self.piece = -1, None
        self.evaluations: dict[tuple[Any, ...], grain.DatasetIterator] = {}

    def train(self, step: int, most: int) -> Piece:
        """See :class:`~dlrun.data.feed.Feed`; at most up to the end of the piece."""
        number, start = divmod(step, self.length)
        if self.piece is None or number != self.number:
            if number != self.number + 1:
                self.pieces.set_state({"next_index": number})
            self.piece, self.number = next(self.pieces), number
        return *self.piece, start, min(most, self.length - start)

    def evaluate(self, split: str, batch_size: int, length: int, most: int) -> Iterator[Piece]:
        """See :class:`~dlrun.data.feed.Feed`."""
        rows: Rows = getattr(self.data, split)
        used, held = -(-len(rows) // batch_size), self._length(batch_size, min(most, length))
        number = -(-used // held)
        key = (split, batch_size, held)
        if key not in self.evaluations:
            order = batches.in_order(np.arange(len(rows)), batch_size, number * held).reshape(number, held, -1)
            self.evaluations[key] = Pieces(number, order.__getitem__, partial(self._place, rows)).iterate(self.how)
        pieces = self.evaluations[key]
        pieces.set_state({"next_index": 0})
        for i, (table, order) in enumerate(pieces):
            yield table, order, 0, min(held, used - i * held)

    def batch(self, step: int) -> Table:
        """See :class:`~dlrun.data.feed.Feed`."""
        return self._place(self.data.train, self._steps(step, 1))[0]

    def close(self) -> None:
        """Ends the threads, once each has read its piece."""
        for pieces in (self.pieces, *self.evaluations.values()):
            pieces.close()

    def _length(self, batch_size: int, most: int) -> int:
        """How many batches a piece has."""
        return max(1, min(most, PIECE_BATCHES, int(PIECE_BYTES / (batches.row_size(self.data) * batch_size))))

    def _training(self, number: int) -> np.ndarray:
        """Row numbers of the batches of a training piece, which may cross into the next epoch or pass the last step."""
        return self._steps(number * self.length, self.length)

    def _steps(self, first: int, count: int) -> np.ndarray:
        at = [divmod(step, self.steps_per_epoch) for step in range(first, first + count)]
        return np.stack([self.order(epoch)[start] for epoch, start in at])

    def _place(self, rows: Rows, index: np.ndarray) -> tuple[Table, jax.Array]:
        """A table of the rows at ``index`` (batches, batch size), and their row numbers in it; for -1 it has zeros.

        The table is divided so that each device has its share of every batch, one after the other.
        """
        count, size = index.shape
        devices = self.divided.mesh.size
        # from (batches, devices, share) to (devices, batches, share)
        laid = index.reshape(count, devices, -1).swapaxes(0, 1).ravel()
        order = np.arange(count * size, dtype=np.int32).reshape(devices, count, -1).swapaxes(0, 1).reshape(count, size)
        order = np.where(index < 0, -1, order)

        def column(values: Any, convert: Callable[[np.ndarray], np.ndarray]) -> jax.Array:
            def share(where: Any) -> np.ndarray:
                numbers = laid[where[0]]
                there = numbers >= 0
                converted = convert(values[numbers[there]])
                if there.all():
                    return converted
                padded = np.zeros((len(numbers), *converted.shape[1:]), converted.dtype)
                padded[there] = converted
                return padded

            return jax.make_array_from_callback((len(laid), *values.shape[1:]), self.rows_divided, share)

        x, y = column(rows.x, partial(batches.inputs, self.data)), column(rows.y, partial(batches.targets, self.data))
        table = {"x": x, "y": y}
        return {**table, **self.moments}, jax.make_array_from_callback(order.shape, self.divided, order.__getitem__)
