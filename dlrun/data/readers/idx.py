"""Reads data sets in MNIST's IDX format: four files, images and labels for training and for testing."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from dlrun.data.dataset import Dataset, Rows
from dlrun.data.readers.download import Source, find
from dlrun.data.readers.files import reason
from dlrun.data.readers.paced import USUAL, Pace
from dlrun.data.readers.transfer import File
from dlrun.errors import Unfit

LARGEST = 2**28  # bytes of a file, unpacked: five times those of MNIST
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""Images and labels for training, then those for testing."""


def files(*published: tuple[int, str]) -> tuple[File, ...]:
    """Describes the four gzipped files; ``published`` has the size in bytes and the SHA-256 of each."""
    return tuple(File(f"{name}.gz", *rest, unpacked=(name,)) for name, rest in zip(NAMES, published, strict=True))


def dataset(
    source: Source,
    classes: tuple[str, ...],
    *,
    shape: tuple[int, int],
    folder: str | None,
    download: bool,
    pace: Pace = USUAL,
) -> Dataset:
    """Reads the four files, plain or gzipped; images become (n, height, width, 1).

    Args:
      shape: height and width of an image.
      folder, download, pace: as :func:`dlrun.data.readers.download.find` takes them.

    Raises:
      Unfit: if files are missing, can't be read, or do not fit each other.
    """
    images, labels, test_images, test_labels = find(source, folder, download=download, pace=pace)
    try:
        train = _rows(images, labels, shape, len(classes))
        test = _rows(test_images, test_labels, shape, len(classes))
    except ValueError as error:
        raise Unfit("folder", folder, f"hold valid IDX files: {error}") from None
    return Dataset("image", classes, train=train, test=test)


def _rows(images: Path, labels: Path, shape: tuple[int, int], classes: int) -> Rows:
    x, y = read(images, shape), read(labels, ())
    if len(x) != len(y):
        raise ValueError(f"{images} has {len(x)} images, {labels} {len(y)} labels")
    if y.max() >= classes:
        raise ValueError(f"{labels} has the label {y.max()}, beyond {classes - 1}")
    if y.min() == y.max():
        raise ValueError(f"{labels} has no label other than {y.max()}")
    return Rows(x[..., None], y.astype(np.int32))


def read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Unsigned bytes (n, *shape) from an IDX file: two zero bytes, type 8, number of axes, sizes, values.

    Raises:
      ValueError: if it is no such file, or does not have that shape.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} can't be read ({reason(error)})") from None
    if len(raw) > LARGEST:
        raise ValueError(f"{path} has more than {LARGEST} bytes, unpacked")
    if not raw:
        raise ValueError(f"{path} is empty")
    axes = 1 + len(shape)
    head, values = raw[: 4 + 4 * axes], raw[4 + 4 * axes :]
    sizes = struct.unpack(f">{axes}I", head[4:]) if len(head) == 4 + 4 * axes else (0,)
    if head[:4] != bytes((0, 0, 8, axes)) or sizes[1:] != shape or not sizes[0] or len(values) != math.prod(sizes):
        expected = "x".join(map(str, ("n", *shape)))
        raise ValueError(f"{path} is not one of {expected} unsigned bytes, or is cut off")
    return np.frombuffer(values, np.uint8).reshape(sizes)
