"""Reads NumPy's files: arrays are mapped, and stay on disk until they are indexed; compressed ones are read whole."""

import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from dlrun.data import lazy
from dlrun.data.dataset import Array
from dlrun.data.readers import files

BROKEN = (
    *(OSError, EOFError, ValueError, MemoryError, RuntimeError, OverflowError, SyntaxError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""The errors that reading a damaged file, or one that is no array, may raise."""
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@contextmanager
def readers(place: Path) -> Iterator[dict[str, Callable[[], Array]]]:
    """For each array in a folder of .npy files or in an .npz archive, by its name, a function that reads it.

    Raises:
      BROKEN: one of these errors, if ``place`` is neither; the functions may raise them too.
    """
    if place.is_dir():
        there = {file.stem: file for file in sorted(place.glob("*.npy")) if file.is_file()}
        yield {name: partial(_mapped, file) for name, file in there.items()}
        return
    with open(place, "rb") as file:
        start = file.read(len(npy.MAGIC_PREFIX))
        if not start:
            raise ValueError("it is empty")
        if start == npy.MAGIC_PREFIX:
            raise ValueError("it is a single array: name its folder")
        with zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            yield {name: partial(_member, archive, info) for name, info in members.items()}


def reason(error: Exception) -> str:
    """Why reading failed, on one line."""
    text = str(error)
    if "pickle" in text or "magic string" in text:
        return "it holds Python objects, or is not a NumPy file"
    return files.reason(error)


def _mapped(file: Path) -> Array:
    with np.errstate(over="ignore"):  # a damaged header may have an absurd size, which NumPy then refuses
        return np.load(file, mmap_mode="r", allow_pickle=False)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """An array of an archive, after its checksum was checked; mapped from the file unless it is compressed."""
    with archive.open(info) as file:
        version = npy.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"its format is {version[0]}.{version[1]}, for structured arrays")
        shape, fortran, dtype = HEADERS[version](file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        start = file.tell()
        there, needed = info.file_size - start, math.prod(shape) * dtype.itemsize
        if there != needed or min(shape, default=0) < 0:
            raise ValueError(f"it has {there} bytes, and its header promises {needed}, of shape {shape}")
        if info.compress_type == zipfile.ZIP_STORED and needed:
            while file.read(lazy.PIECE_BYTES):  # on to the end, where the checksum is checked
                pass
            offset, order = _content(archive, info) + start, "F" if fortran else "C"
            return np.memmap(str(archive.filename), dtype, "r", offset, shape or (1,), order).reshape(shape)
        of = Path(str(archive.filename)).name
        lazy.require_room(
            needed,
            f"{info.filename} of {of} unpacked",
            "numpy.savez does not compress, and its files are read in pieces",
        )
        array = lazy.aligned(shape[::-1] if fortran else shape, dtype)
        flat = array.reshape(-1)
        for piece in lazy.pieces(flat):
            flat[piece] = np.frombuffer(file.read(len(flat[piece]) * dtype.itemsize), dtype)
        file.read(1)  # the end, where the checksum is checked
    return array.T if fortran else array


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Where a member's content begins in the archive: after a header of 30 bytes and two fields of variable length."""
    with open(str(archive.filename), "rb") as file:
        file.seek(info.header_offset)
        head = file.read(30)
    return info.header_offset + 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
