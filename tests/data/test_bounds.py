"""Data that would fill the memory, or never end, is refused in a line that says what it needs, before it is read."""

import gzip
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrun.data.readers import idx


def refused(done: Any, *said: str) -> None:
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1, done.err
    assert [text for text in said if text not in done.err] == [], done.err


def packed(file: Path, rows: int) -> None:
    """An archive of a few MB whose x has so many rows of a kB, all zero, and whose y is small."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in {"x": np.zeros((1, 128)), "y": np.zeros(1, int)}.items():
            shape = (rows, *array.shape[1:])
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                block = bytes(2**20)
                left = array.itemsize * int(np.prod(shape))
                while left > 0:
                    left -= member.write(block[:left])


def test_an_archive_that_is_larger_unpacked_than_there_is_room(dlrun: Callable[..., Any], own_folder: Path) -> None:
    packed(own_folder / "big.npz", 60_000)
    assert (own_folder / "big.npz").stat().st_size < 2**20
    done = dlrun("data=arrays", "data.path=big.npz", "stream.memory=0.05")
    needed = "must be 0.1 or more, as that is how many GB x.npy of big.npz unpacked takes as a whole"
    refused(done, f"stream.memory=0.05: {needed}", "numpy.savez")


def test_text_and_tables_are_read_as_a_whole_only_where_there_is_room(
    dlrun: Callable[..., Any], own_folder: Path
) -> None:
    for name in ("t.txt", "t.csv"):
        with open(name, "wb") as file:
            file.truncate(2**40)  # takes no room on the disk
    refused(dlrun("data=text", "data.path=t.txt", "model=transformer"), "stream.memory=2.0: must be ", "data.max_bytes")
    refused(dlrun("data=table", "data.path=t.csv", "data.target=y"), "stream.memory=2.0: must be 1099.6 or more")
    (own_folder / "texts").mkdir()
    os.rename("t.txt", "texts/t.py")
    refused(dlrun("data=text", "data.path=texts", "model=transformer"), "text of 1 file takes as a whole")


@pytest.mark.parametrize("place", ["/dev/zero", "pipe"])
@pytest.mark.parametrize("data", ["table data.target=y", "arrays", "text model=transformer", "images"])
def test_what_never_ends_is_not_read(dlrun: Callable[..., Any], own_folder: Path, data: str, place: str) -> None:
    os.mkfifo(own_folder / "pipe")
    refused(dlrun(*f"data={data} data.path={place}".split()), f"data.path={place}: must ")


def test_a_published_file_that_unpacks_to_too_much(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "LARGEST", 2**16)
    file = own_folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(bytes(2**17)))
    with pytest.raises(ValueError, match="has more than 65536 bytes, unpacked"):
        idx.read(file, (28, 28))
