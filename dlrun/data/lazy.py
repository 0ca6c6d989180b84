"""Examples that are not held in memory: arrays mapped from a file, and files that are decoded when asked for.

Either is an array of its own kind: it has ``shape``, ``dtype`` and a length, and gives an ndarray when it is indexed by
a slice or by row numbers.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

SAMPLE = 10_000
SAMPLE_BYTES = 2**28


@dataclass(frozen=True)
class Subset:
    """Some rows of an array that stays where it is.

    Args:
      base: the array.
      rows: numbers of the rows, int (n,).
    """

    base: Any
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.base.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        return self.base.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self.base[self.rows[index]])


def pick(x: Any, index: np.ndarray) -> Any:
    """The rows of ``x`` at ``index``, a mask or row numbers; left where they are unless ``x`` is in memory."""
    if isinstance(x, Subset):
        return Subset(x.base, x.rows[index])
    return x[index] if type(x) is np.ndarray else Subset(x, np.arange(len(x))[index])


def decoded(x: Any) -> bool:
    """Whether rows are decoded anew each time they are asked for, rather than lie in memory or in a mapped file."""
    return not isinstance(x.base if isinstance(x, Subset) else x, np.ndarray)


def size(x: Any) -> int:
    """Bytes of all rows."""
    return math.prod(x.shape) * x.dtype.itemsize


def sample(x: Any) -> Any:
    """``x``, or of rows that are decoded some drawn at random, always the same: 10,000, or as many as 256 MiB hold."""
    if not decoded(x):
        return x
    n = min(len(x), SAMPLE, max(1, SAMPLE_BYTES * len(x) // size(x)))
    random = np.random.Generator(np.random.PCG64(0))
    return x[np.sort(random.choice(len(x), n, replace=False))]
