"""CIFAR's format: a tar archive of Python 2 pickles. Nothing is unpacked to disk, and no pickle can run code."""

import gzip
import io
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.dataset import Dataset, Rows
from dlrun.data.readers.download import Source, find
from dlrun.data.readers.files import reason
from dlrun.data.readers.paced import USUAL, Pace
from dlrun.data.readers.transfer import File
from dlrun.errors import Unfit

SHAPE = (3, 32, 32)
LARGEST = 2**28
"""The most bytes that a member of the archive may have; CIFAR's largest has 155 million."""


@dataclass(frozen=True)
class Layout:
    """Where an archive keeps images, labels and the names of classes.

    Args:
      folder: the archive's only folder.
      train, test, meta: names of the pickles in that folder.
      labels, names: keys of the labels in ``train`` and ``test``, and of the class names in ``meta``.
      classes: how many there are.
    """

    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    names: str
    classes: int


def archive(name: str, size: int, sha256: str, *, folder: str, meta: str) -> File:
    """Describes an archive; its unpacked folder, or the files of that folder, may take its place on disk."""
    return File(name, size, sha256, unpacked=(f"{folder}/{meta}", meta))


def dataset(source: Source, layout: Layout, *, folder: str | None, download: bool, pace: Pace = USUAL) -> Dataset:
    """The data set of an archive, packed or unpacked; images become (n, 32, 32, 3).

    Args:
      folder, download, pace: as :func:`dlrun.data.readers.download.find` takes them.

    Raises:
      Unfit: when files are missing or are not what they should be.
    """
    (path,) = find(source, folder, download=download, pace=pace)
    wanted = (*layout.train, layout.test, layout.meta)
    try:
        if path.name == layout.meta:
            members = ((name, (path.parent / name).read_bytes()) for name in wanted)
        else:
            members = _members(path, {f"{layout.folder}/{name}": name for name in wanted})
        contents: dict[str, Any] = {}
        for name, raw in members:
            contents[name] = class_names(raw, layout) if name == layout.meta else rows(name, raw, layout)
        if missing := [name for name in wanted if name not in contents]:
            raise ValueError(f"no {missing[0]}")
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        where = getattr(error, "filename", None) or path
        raise Unfit("folder", folder, f"hold valid CIFAR files: {where}: {reason(error)}") from None
    parts = [contents[name] for name in layout.train]
    train = Rows(np.concatenate([p.x for p in parts]), np.concatenate([p.y for p in parts]))
    return Dataset("image", contents[layout.meta], train=train, test=contents[layout.test])


def _members(path: Path, names: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """The wanted members of an archive: regular files only, read into memory, so that nothing is ever unpacked."""
    with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            if member.name in names and member.isreg():
                if member.size > LARGEST:
                    raise ValueError(f"{member.name} has {member.size} bytes")
                yield names[member.name], tar.extractfile(member).read()  # pyright: ignore[reportOptionalMemberAccess]
        while stream.read(2**20):  # on to the end, where gzip checks its checksum
            pass


def rows(name: str, raw: bytes, layout: Layout) -> Rows:
    """The images and labels of a pickle; raises ``ValueError`` where it holds anything else."""
    batch = unpickle(raw)
    x, y = batch.get(b"data"), batch.get(layout.labels.encode())
    if not isinstance(x, np.ndarray) or x.shape[1:] != (np.prod(SHAPE),) or len(x) == 0:
        raise ValueError(f"{name} has no images of 3x32x32 bytes")
    if not isinstance(y, list) or len(y) != len(x) or any(type(label) is not int for label in y):
        raise ValueError(f"{name} has not one of {layout.labels} for each of its {len(x)} images")
    if min(y) < 0 or max(y) >= layout.classes:
        raise ValueError(f"{name} has {layout.labels} beyond 0 to {layout.classes - 1}")
    if min(y) == max(y):
        raise ValueError(f"{name} has no {layout.labels} other than {max(y)}")
    return Rows(np.ascontiguousarray(x.reshape(-1, *SHAPE).transpose(0, 2, 3, 1)), np.array(y, np.int32))


def class_names(raw: bytes, layout: Layout) -> tuple[str, ...]:
    """The names of the classes, from the pickle ``layout.meta``."""
    names = unpickle(raw).get(layout.names.encode())
    if not isinstance(names, list) or len(names) != layout.classes or any(type(n) is not bytes for n in names):
        raise ValueError(f"{layout.meta} has not {layout.classes} {layout.names}")
    return tuple(name.decode(errors="replace") for name in names)


def unpickle(raw: bytes) -> dict[Any, Any]:
    """The dict in a pickle that is made only of dicts, lists, numbers, byte strings and arrays of unsigned bytes.

    Nothing that the pickle names is imported or called.

    Raises:
      ValueError: if it holds anything else, or is no pickle.
    """
    try:
        content = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    except Exception as error:  # a pickle can go wrong in any way
        raise ValueError(f"not a pickle of images ({' '.join(str(error).split()) or type(error).__name__})") from None
    if not isinstance(content, dict):
        raise ValueError("not a pickle of images (no dict)")
    return {
        key: getattr(value, "array", None) if isinstance(value, _Array) else value for key, value in content.items()
    }


class _Dtype:
    """Stands for ``numpy.dtype``."""

    def __init__(self, kind: bytes, *_: Any):
        if kind != b"u1":
            raise ValueError(f"numbers of type {kind!r:.40}")

    def __setstate__(self, state: Any) -> None:
        """Ignores the state: byte order and the like do not matter for bytes."""


class _Array:
    """Stands for an array in a pickle. NumPy's own functions for making one would trust what the pickle gives them."""

    array: np.ndarray

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, _dtype, fortran, values = state
        self.array = np.frombuffer(values, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Unpickler(pickle.Unpickler):
    """Gives stand-ins of ours for the three names that CIFAR's pickles use; refuses any other name."""

    KNOWN: dict[tuple[str, str], Callable[..., Any]] = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.KNOWN:
            raise ValueError(f"it names {module}.{name}"[:80])
        return self.KNOWN[module, name]
