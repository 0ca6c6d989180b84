"""Bad input, source by source and kind by kind: one line that says what is wrong, exit code 2, nothing created.

What is particular to a source is in its own tests; this table holds what can happen to any file.
"""

import gzip
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from dlrun.config import catalogue
from dlrun.config.components import resolve
from dlrun.config.settings import Splitting
from dlrun.data.dataset import cut
from dlrun.data.readers import idx, npy
from dlrun.data.sources import arrays, cifar10, cifar100
from dlrun.errors import Unfit
from tests.data.sources.test_published import ARCHIVE, idx_file, members, packed

N = 24
NUMBERS = np.random.default_rng(0).normal(size=(N, 4))
CLASSES = np.arange(N) % 2
PIXELS, DIGITS = np.zeros((20, 28, 28), np.uint8), np.arange(20) % 10
SENTENCE = "every good boy does fine. "


def archive(y: Any = CLASSES, x: Any = NUMBERS) -> None:
    np.savez("d.npz", x=x, y=y)


def folder(y: Any = CLASSES, x: Any = NUMBERS) -> None:
    Path("d").mkdir(exist_ok=True)
    np.save("d/x.npy", x)
    np.save("d/y.npy", y)


def csv(y: Any = CLASSES, x: Any = NUMBERS) -> None:
    cells = "".join(f"{a},{b},{c}\n" for (a, b, *_), c in zip(x, y, strict=True))
    Path("d.csv").write_text(f"a,b,y\n{cells}")


def columns(y: Any = CLASSES, x: Any = NUMBERS) -> None:
    parquet.write_table(pyarrow.table({"a": x[:, 0], "b": x[:, 1], "y": y}), "d.parquet")


def pictures(classes: tuple[str, ...] = ("cat", "dog")) -> None:
    for name in classes:
        Path("d", name).mkdir(parents=True)
        for i in range(8):
            Image.fromarray(np.full((9, 9, 3), 20 * i, np.uint8)).save(f"d/{name}/{i}.png")


def document() -> None:
    Path("d.txt").write_text(SENTENCE * 100)


def documents() -> None:
    Path("d").mkdir()
    for i in range(4):
        Path(f"d/{i}.txt").write_text(f"{i}, {SENTENCE}" * 50)


def idx_files(labels: Any = DIGITS, suffix: str = "") -> None:
    Path("d").mkdir(exist_ok=True)
    for name, values in zip(idx.NAMES, (PIXELS, labels.astype(np.uint8)) * 2, strict=True):
        raw = idx_file(values)
        Path("d", name + suffix).write_bytes(gzip.compress(raw) if suffix else raw)


def cifar_files(module: Any, **changed: Any) -> None:
    Path("d").mkdir(exist_ok=True)
    Path("d", ARCHIVE[module]).write_bytes(packed(members(module, **changed)))


FILES = {"path": "d", "length": 8, "pattern": "*.txt", "tokens": "characters"}
HERE = {"folder": "d", "download": False}
SOURCES: dict[str, tuple[str, Callable[..., Any], dict[str, Any], str]] = {
    # name: the option, what makes sound files, the keys that name them, the file to be spoilt
    "archive": ("arrays", archive, {"path": "d.npz"}, "d.npz"),
    "folder": ("arrays", folder, {"path": "d"}, "d/x.npy"),
    "csv": ("table", csv, {"path": "d.csv", "target": "y"}, "d.csv"),
    "parquet": ("table", columns, {"path": "d.parquet", "target": "y"}, "d.parquet"),
    "images": ("images", pictures, {"path": "d", "size": 8}, "d/cat/3.png"),
    "text": ("text", document, {"path": "d.txt", "length": 8}, "d.txt"),
    "texts": ("text", documents, FILES, "d/2.txt"),
    "mnist": ("mnist", idx_files, HERE, f"d/{idx.NAMES[0]}"),
    "fashion_mnist": ("fashion_mnist", lambda: idx_files(suffix=".gz"), HERE, f"d/{idx.NAMES[1]}.gz"),
    "cifar10": ("cifar10", lambda: cifar_files(cifar10), HERE, f"d/{ARCHIVE[cifar10]}"),
    "cifar100": ("cifar100", lambda: cifar_files(cifar100), HERE, f"d/{ARCHIVE[cifar100]}"),
}
MADE = {"digits", "iris", "wine", "breast_cancer", "diabetes", "synthetic"}
"""Sources that read no files of the user's."""


def load(source: str) -> Any:
    option, _, values, _ = SOURCES[source]
    return resolve("data", option, ())(**values)


def top(file: Path) -> Path:
    return Path(file.parts[0])


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def gone(file: Path) -> None:
    shutil.rmtree(top(file)) if top(file).is_dir() else file.unlink()


def turned(file: Path) -> None:
    """A folder where a file is expected, and a file where a folder is."""
    gone(file)
    if top(file) == file:
        file.mkdir()
    else:
        top(file).write_bytes(b"text")


def unreadable(file: Path) -> None:
    """Also to root: what may be opened, but not be read."""
    file.unlink()
    file.symlink_to("/proc/self/mem")


def dangling(file: Path) -> None:
    gone(file)
    top(file).symlink_to("nowhere")


KINDS: dict[str, Callable[[Path], Any]] = {
    "gone": gone,
    "link": dangling,
    "turned": turned,
    "empty": lambda file: file.write_bytes(b""),
    "unreadable": unreadable,
    "cut off": halved,
    "zeros": lambda file: file.write_bytes(bytes(5000)),
    "Latin-1": lambda file: file.write_bytes("a,b,y\n1,2,größer\n".encode("latin-1") * 30),
}
SOUND = None
"""Not to be refused: bytes of any kind are text, and a shorter text is one."""
NO_ARRAYS = f"must be {arrays.WHAT}; "
NO_ARRAY = "must hold arrays that can be read: x can't: "
NO_NUMPY = f"{NO_ARRAY}it holds Python objects, or is not a NumPy file"
NO_TABLE = "must be a CSV or Parquet file with a header: "
ONE_COLUMN, NO_UTF8 = f"{NO_TABLE}it has one column", f"{NO_TABLE}it is not text in UTF-8: byte 12"
NO_TEXT = "must be a file of text, or a folder of them, that can be read: "
NO_IMAGE = "must hold images that can be read: d/cat/3.png "
NO_IDX = f"must hold valid IDX files: d/{idx.NAMES[0]} "
NO_GZ = f"must hold valid IDX files: d/{idx.NAMES[1]}.gz "
NO_FOLDER = "d: must be a folder that exists"
LINK = "it is a link to nowhere, which does not exist"
EIO = "Input/output error"


def cifar_lines(name: str) -> list[str | None]:
    no = f"must hold valid CIFAR files: d/{name}: "
    end = f"{no}Compressed file ended before the end-of-stream marker"
    gz = f"{no}Not a gzipped file"
    return [NO_FOLDER, NO_FOLDER, NO_FOLDER, no, f"{no}{EIO}", end, gz, gz]


EXPECTED: dict[str, list[str | None]] = {
    "archive": [
        "it does not exist", LINK, f"{NO_ARRAYS}it holds nothing", f"{NO_ARRAYS}reading failed: it is empty",
        f"{NO_ARRAYS}reading failed: {EIO}", *[f"{NO_ARRAYS}reading failed: File is not a zip file"] * 3,
    ],
    "folder": [
        "it does not exist", LINK, "reading failed: File is not a zip file", f"{NO_ARRAY}No data left in file",
        f"{NO_ARRAY}{EIO}", f"{NO_ARRAY}mmap length is greater than file size", NO_NUMPY, NO_NUMPY,
    ],
    "csv": [
        "it does not exist", LINK, f"{NO_TABLE}it is a folder", f"{NO_TABLE}it is empty",
        f"{NO_TABLE}it can't be read: {EIO}", "has 2 cells, the header 3", ONE_COLUMN, NO_UTF8,
    ],
    "parquet": [
        "it does not exist", LINK, f"{NO_TABLE}it is a folder", f"{NO_TABLE}it is empty",
        f"{NO_TABLE}it can't be read: {EIO}", f"{NO_TABLE}it is broken: ", ONE_COLUMN, NO_UTF8,
    ],
    "images": [
        "it does not exist", LINK, "it is a file", f"{NO_IMAGE}is empty",
        f"{NO_IMAGE}can't: {EIO}", *[f"{NO_IMAGE}is not an image"] * 3,
    ],
    "text": [
        "it does not exist", LINK, "data.pattern=*.py: must match files below d.txt: none does",
        "must hold text: the file is empty", f"{NO_TEXT}{EIO}", SOUND, SOUND, SOUND,
    ],
    "texts": [
        "it does not exist", LINK, "must hold text for a row of 8 tokens", SOUND,
        f"{NO_TEXT}{EIO}", SOUND, SOUND,
        "must hold text in UTF-8 for tokens=characters: byte 12 of 2.txt is not; tokens=bytes takes any file",
    ],
    "mnist": [
        NO_FOLDER, NO_FOLDER, NO_FOLDER, f"{NO_IDX}is empty", f"{NO_IDX}can't be read ({EIO})",
        *[f"{NO_IDX}is not one of nx28x28 unsigned bytes, or is cut off"] * 3,
    ],
    "fashion_mnist": [
        NO_FOLDER, NO_FOLDER, NO_FOLDER, f"{NO_GZ}is empty", f"{NO_GZ}can't be read ({EIO})",
        f"{NO_GZ}can't be read (Compressed file ended", *[f"{NO_GZ}can't be read (Not a gzipped file"] * 2,
    ],
    "cifar10": cifar_lines(ARCHIVE[cifar10]),
    "cifar100": cifar_lines(ARCHIVE[cifar100]),
}  # fmt: skip


def line(error: Unfit) -> str:
    """What is told, on one line that is not too long."""
    text = error.at("data")
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_every_source_is_in_the_table() -> None:
    assert {option for option, *_ in SOURCES.values()} | MADE == set(catalogue.options("data", [catalogue.conf()]))
    assert {source: len(lines) for source, lines in EXPECTED.items()} == dict.fromkeys(SOURCES, len(KINDS))


@pytest.mark.parametrize("source", SOURCES)
def test_sound_files_are_read(source: str, own_folder: Path) -> None:
    SOURCES[source][1]()
    assert len(load(source).train) >= 16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_file_that_is_none(source: str, kind: str, own_folder: Path) -> None:
    _, make, _, file = SOURCES[source]
    make()
    KINDS[kind](Path(file))
    before = sorted(own_folder.rglob("*"))
    expected = EXPECTED[source][list(KINDS).index(kind)]
    if expected is SOUND:
        assert len(load(source).train) > 0
    else:
        with pytest.raises(Unfit) as error:
            load(source)
        assert expected in line(error.value)
    assert sorted(own_folder.rglob("*")) == before


NAN = np.where(np.arange(N)[:, None] == 5, np.nan, NUMBERS)
HOLE = np.where(CLASSES == 0, np.nan, CLASSES)
ONE = np.zeros(N, int)
VALUES: dict[str, tuple[str, Callable[[], Any], str]] = {
    "archive, one class": ("archive", lambda: archive(ONE), "there is only one class, 0, in all 24 rows"),
    "folder, one class": ("folder", lambda: folder(ONE), "there is only one class, 0, in all 24 rows"),
    "csv, one class": ("csv", lambda: csv(ONE), "there is only one class, 0, in all 24 rows"),
    "parquet, one class": ("parquet", lambda: columns(ONE), "there is only one class, 0, in all 24 rows"),
    "images, one class": ("images", lambda: pictures(("cat",)), "d has only the class cat"),
    "mnist, one class": ("mnist", lambda: idx_files(np.full(20, 7)), f"d/{idx.NAMES[1]} has no label other than 7"),
    "cifar, one class": (
        "cifar10",
        lambda: cifar_files(cifar10, test_batch=members_of(labels=[3] * 4)),
        "test_batch has no labels other than 3",
    ),
    "mnist, out of range": ("mnist", lambda: idx_files(DIGITS + 1), f"d/{idx.NAMES[1]} has the label 10, beyond 9"),
    "cifar, out of range": (
        "cifar10",
        lambda: cifar_files(cifar10, test_batch=members_of(labels=[3, 2, 10, 1])),
        "test_batch has labels beyond 0 to 9",
    ),
    "archive, NaN": ("archive", lambda: archive(x=NAN), "row 5 has nan; numbers must be finite"),
    "folder, NaN": ("folder", lambda: folder(x=NAN), "row 5 has nan; numbers must be finite"),
    "archive, NaN in y": ("archive", lambda: archive(HOLE), "in y: row 0 has nan"),
    "csv, NaN in y": ("csv", lambda: csv(HOLE), "it is missing, 'nan', at line 2 and 11 more rows of d.csv"),
    "parquet, NaN in y": ("parquet", lambda: columns(HOLE), "it is empty at row 1 and 11 more rows of d.parquet"),
}


def members_of(labels: list[int]) -> dict[bytes, Any]:
    return {b"data": np.zeros((len(labels), 3072), np.uint8), b"labels": labels}


@pytest.mark.parametrize("case", VALUES)
def test_values_that_are_of_no_use(case: str, own_folder: Path) -> None:
    source, make, expected = VALUES[case]
    make()
    with pytest.raises(Unfit) as error:
        load(source)
    assert expected in line(error.value)


@pytest.mark.parametrize("source", ["csv", "parquet"])
def test_missing_cells_of_a_table_are_no_error(source: str, own_folder: Path) -> None:
    SOURCES[source][1](x=NAN)
    data = cut(load(source), Splitting())
    assert all(np.isfinite(part.x).all() for part in (data.train, data.val, data.test))


def test_images_of_mixed_size_become_one(own_folder: Path) -> None:
    pictures()
    Image.fromarray(np.full((40, 13, 3), 255, np.uint8)).save("d/cat/3.png")
    found = load("images").train.x[:]
    assert found.shape == (16, 8, 8, 3)
    assert (found[3] == 255).all()


# Headers of NumPy's that promise what is not there


def header(shape: str, kind: str = "<f4") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return npy.npy.MAGIC_PREFIX + b"\1\0" + len(text + b"\n").to_bytes(2, "little") + text + b"\n"


HEADERS = {
    "(10000000000000, 4)": ("its header promises 160000000000000", "mmap length is greater than file size"),
    "(4611686018427387904, 4611686018427387904)": ("its header promises 85070591730", "array is too big"),
    "(-24, -4)": ("of shape (-24, -4)", "negative dimensions"),
    "(24.0, 4)": ("shape is not valid", "shape is not valid"),
    "(24, 4": ("x can't: ", "x can't: "),
    "{24, 4)": ("x can't: ", "x can't: "),
}


@pytest.mark.parametrize("shape", HEADERS)
@pytest.mark.parametrize("source", ["archive", "folder"])
def test_headers(source: str, shape: str, own_folder: Path) -> None:
    folder()
    raw = header(shape) + NUMBERS.astype(np.float32).tobytes()
    Path("d/x.npy").write_bytes(raw)
    with zipfile.ZipFile("d.npz", "w") as file:
        file.writestr("x.npy", raw)
        file.write("d/y.npy", "y.npy")
    with pytest.raises(Unfit) as error:
        load(source)
    assert HEADERS[shape][source == "folder"] in line(error.value)


# As commands


@pytest.mark.parametrize("source", SOURCES)
def test_commands(source: str, dlrun: Callable, own_folder: Path) -> None:
    option, make, values, file = SOURCES[source]
    make()
    unreadable(Path(file))
    before = sorted(os.listdir(own_folder))
    words = [f"data.{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in values.items()]
    done = dlrun(f"data={option}", *words)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    assert done.err.startswith("error: data.")
    assert EIO in done.err
    assert sorted(os.listdir(own_folder)) == before
