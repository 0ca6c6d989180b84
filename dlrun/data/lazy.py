"""Works with arrays whose rows are read only when they are indexed, so that data sets need not fit into memory.

They are subsets of other arrays, arrays that are mapped from a file, and files that are decoded. Each has ``shape``,
``dtype`` and a length, and gives an ndarray when it is indexed by a slice or by row numbers.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlrun.errors import Unfit

SAMPLE = 10_000  # rows of a sample at most
SAMPLE_BYTES = 2**28  # of a sample at most
PIECE_BYTES = 2**22  # copied or checked at a time
ALIGNMENT = 64  # bytes

_ROOM: ContextVar[float] = ContextVar("room", default=math.inf)


@contextmanager
def room(gigabytes: float) -> Iterator[None]:
    """Within it :func:`require_room` refuses what takes more memory than this."""
    token = _ROOM.set(gigabytes)
    try:
        yield
    finally:
        _ROOM.reset(token)


def require_room(size: float, what: str, instead: str) -> None:
    """Refuses to read what must be in memory as a whole, and has no room there.

    Args:
      size: bytes in memory.
      what: is to be read, such as ``x unpacked``.
      instead: what reads it in pieces, such as ``data.max_bytes``.

    Raises:
      Unfit: about the key ``stream.memory``.
    """
    if size > _ROOM.get() * 1e9:
        needs = f"be {math.ceil(size / 1e8) / 10:g} or more, as that is how many GB {what} takes as a whole; {instead}"
        raise Unfit(".stream.memory", _ROOM.get(), needs)


@dataclass(frozen=True)
class Subset:
    """Some rows of an array, which are copied when they are indexed.

    Args:
      base: the array.
      rows: the numbers of the rows, int (n,).
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
    """The rows of ``x`` at ``index``, a mask or row numbers: a :class:`Subset`, or an array if ``x`` is in memory."""
    if isinstance(x, Subset):
        return Subset(x.base, x.rows[index])
    return x[index] if type(x) is np.ndarray else Subset(x, np.arange(len(x))[index])


def decoded(x: Any) -> bool:
    """Whether rows are decoded each time they are indexed, rather than read from memory or a mapped file."""
    return not isinstance(x.base if isinstance(x, Subset) else x, np.ndarray)


def size(x: Any) -> int:
    """How many bytes all rows take."""
    return math.prod(x.shape) * x.dtype.itemsize


def pieces(x: Any) -> list[slice]:
    """Slices that cover all rows, each of a few MiB."""
    step = max(1, PIECE_BYTES * len(x) // max(1, size(x)))
    return [slice(start, start + step) for start in range(0, len(x), step)]


def aligned(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array whose memory is aligned so that XLA on CPU can use it without a copy."""
    raw = np.empty(math.prod(shape) * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : raw.size - ALIGNMENT + start].view(dtype).reshape(shape)


def joined(
    parts: Sequence[Any], convert: Callable[[np.ndarray], np.ndarray] | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Joins parts into one array in memory; returns it, and for each part its row numbers in it.

    If all parts are subsets of one array in memory, that array is returned, and nothing is copied.

    Args:
      convert: a function applied to the rows, which gives float32; None leaves them as they are.
    """
    subsets = [part for part in parts if isinstance(part, Subset)]
    base = subsets[0].base if subsets else None
    if convert is None and type(base) is np.ndarray and [part.base is base for part in subsets] == [True] * len(parts):
        return base, [part.rows for part in subsets]
    ends = np.cumsum([len(part) for part in parts])
    numbers = [np.arange(end - len(part), end) for part, end in zip(parts, ends, strict=True)]
    dtype = np.result_type(*(part.dtype for part in parts)) if convert is None else np.dtype(np.float32)
    whole = aligned((int(ends[-1]), *parts[0].shape[1:]), dtype)
    for part, where in zip(parts, numbers, strict=True):
        for piece in pieces(part):
            whole[where[piece]] = part[piece] if convert is None else convert(part[piece])
    return whole, numbers


def sample(x: Any) -> Any:
    """``x`` itself; if its rows are decoded, a random sample, always the same: 10,000 rows, or what fits 256 MiB."""
    if not decoded(x):
        return x
    return draw(x, min(SAMPLE, max(1, SAMPLE_BYTES * len(x) // size(x))))


def draw(x: Any, n: int) -> np.ndarray:
    """``n`` rows drawn at random, always the same ones; all rows if there are fewer."""
    random = np.random.Generator(np.random.PCG64(0))
    return x[np.sort(random.choice(len(x), min(n, len(x)), replace=False))]
