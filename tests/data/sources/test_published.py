"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100: true-format files, whole and broken, at hand and downloaded."""

import gzip
import hashlib
import importlib
import io
import os
import pickle
import re
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.data.dataset import Dataset, moments
from dlrun.data.readers import cifar, idx
from dlrun.data.sources import cifar10, cifar100, fashion_mnist, mnist
from dlrun.errors import Unfit
from tests.conftest import QUICK, Outcome
from tests.loopback import Site

RANDOM = np.random.default_rng(0)
each_mnist = pytest.mark.parametrize("module", [mnist, fashion_mnist], ids=["mnist", "fashion_mnist"])
each_cifar = pytest.mark.parametrize("module", [cifar10, cifar100], ids=["cifar10", "cifar100"])
each_set = pytest.mark.parametrize("module", [mnist, fashion_mnist, cifar10, cifar100], ids=lambda m: name_of(m))


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing outside this test's folder is found, and nobody is asked but a server on this machine."""
    for name in ("DLRUN_DATA", "DLRUN_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_DATA_HOME", "XDG_DATA_DIRS"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("no_proxy", "*")
    for module in (mnist, fashion_mnist, cifar10, cifar100):
        monkeypatch.setattr(module, "SOURCE", replace(module.SOURCE, mirrors=("http://127.0.0.1:1/none",)))


def name_of(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def load(module: ModuleType, **keys: Any) -> Dataset:
    return getattr(module, name_of(module))(**keys)


def refused(module: ModuleType, folder: Path | None, **keys: Any) -> str:
    """The one line that says what is wrong with the files in a folder."""
    with pytest.raises(Unfit) as error:
        load(module, folder=folder and str(folder), download=False, **keys)
    line = error.value.at("data")
    assert "\n" not in line
    assert line.startswith(f"data.folder={folder}"[:69] if folder else "data.folder=null")
    return line


def serve(site: Site, module: ModuleType, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the site have a data set of small files, and its module know them."""
    site.files = {f"/{name}": body for name, body in files.items()}
    known = tuple(
        replace(f, size=len(files[f.name]), sha256=hashlib.sha256(files[f.name]).hexdigest())
        for f in module.SOURCE.files
    )
    monkeypatch.setattr(module, "SOURCE", replace(module.SOURCE, files=known, mirrors=(site.url,)))


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


# IDX

IMAGES = RANDOM.integers(0, 256, (60, 28, 28), np.uint8)
LABELS = np.resize(np.arange(10), 60).astype(np.uint8)
X, Y, TEST_X, TEST_Y = idx.NAMES


def idx_file(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


WHOLE = {X: IMAGES, Y: LABELS, TEST_X: IMAGES[::-1], TEST_Y: LABELS[::-1]}
PUBLISHED = {f"{name}.gz": gzip.compress(idx_file(values), mtime=0) for name, values in WHOLE.items()}


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """Four files, the images gzipped."""
    folder = tmp_path / "idx"
    folder.mkdir()
    for name in (X, TEST_X):
        (folder / f"{name}.gz").write_bytes(PUBLISHED[f"{name}.gz"])
    for name in (Y, TEST_Y):
        (folder / name).write_bytes(idx_file(WHOLE[name]))
    return folder


def assert_idx(data: Dataset) -> None:
    np.testing.assert_array_equal(data.train.x[..., 0], IMAGES)
    np.testing.assert_array_equal(data.train.y, LABELS)
    np.testing.assert_array_equal(data.test.x[..., 0], IMAGES[::-1])
    np.testing.assert_array_equal(data.test.y, LABELS[::-1])
    assert (data.kind, data.train.x.dtype, data.train.y.dtype) == ("image", np.uint8, np.int32)
    assert (data.inputs.shape, data.outputs, data.val) == ((28, 28, 1), 10, None)


@each_mnist
def test_idx_files_plain_and_gzipped(
    module: ModuleType, idx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_idx(load(module, folder=str(idx_folder)))
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path))
    idx_folder.rename(tmp_path / module.SOURCE.folder)
    assert_idx(load(module))


def test_classes() -> None:
    assert fashion_mnist.CLASSES[0] == "T-shirt/top"
    assert fashion_mnist.CLASSES[9] == "Ankle boot"


BROKEN_IDX = {
    "missing": (f"{X}.gz", None, f"hold {X}.gz "),
    "labels missing": (TEST_Y, None, f"hold {TEST_Y}.gz "),
    "empty": (Y, b"", f"valid IDX files: .*{Y} is empty"),
    "header alone": (Y, idx_file(LABELS)[:6], f"{Y} is not one of n unsigned bytes"),
    "no values": (Y, idx_file(LABELS[:0]), f"{Y} is not one of n unsigned bytes"),
    "truncated": (Y, idx_file(LABELS)[:-1], "is not one of n unsigned bytes, or is cut off"),
    "too long": (Y, idx_file(LABELS) + b"\0", "is not one of n unsigned bytes"),
    "truncated gzip": (f"{TEST_X}.gz", PUBLISHED[f"{TEST_X}.gz"][:-9], f"{TEST_X}.gz can't be read .Compressed file"),
    "flipped gzip": (f"{TEST_X}.gz", PUBLISHED[f"{TEST_X}.gz"][:-8] + bytes(8), "CRC check failed"),
    "broken stream": (f"{TEST_X}.gz", PUBLISHED[f"{TEST_X}.gz"][:40] + b"\xff" * 60, "can't be read"),
    "no gzip": (f"{TEST_X}.gz", idx_file(IMAGES), "Not a gzipped file"),
    "empty gzip": (f"{TEST_X}.gz", b"", f"{TEST_X}.gz is empty"),
    "wrong magic": (Y, b"\1" + idx_file(LABELS)[1:], "is not one of n unsigned bytes"),
    "wrong type": (Y, b"\0\0\x0d" + idx_file(LABELS)[3:], "is not one of n unsigned bytes"),
    "wrong axes": (Y, idx_file(IMAGES), "is not one of n unsigned bytes"),
    "no axes": (Y, b"\0\0\x08\0" + b"1", "is not one of n unsigned bytes"),
    "huge sizes": (Y, b"\0\0\x08\x01" + b"\xff" * 4 + b"1", "is not one of n unsigned bytes"),
    "wrong size of image": (f"{X}.gz", gzip.compress(idx_file(IMAGES[:, :27])), "is not one of nx28x28 unsigned bytes"),
    "fewer labels": (Y, idx_file(LABELS[:59]), f"{X}.gz has 60 images, .*{Y} 59 labels"),
    "fewer test images": (f"{TEST_X}.gz", gzip.compress(idx_file(IMAGES[:7])), "has 7 images, .* 60 labels"),
    "label out of range": (TEST_Y, idx_file(LABELS + (LABELS == 9)), f"{TEST_Y} has the label 10, beyond 9"),
    "one label": (Y, idx_file(LABELS * 0 + 4), f"{Y} has no label other than 4"),
    "a folder": (Y, "folder", f"hold {Y}.gz "),
}


@each_mnist
@pytest.mark.parametrize("case", BROKEN_IDX)
def test_broken_idx_files(module: ModuleType, idx_folder: Path, case: str) -> None:
    name, content, message = BROKEN_IDX[case]
    (idx_folder / name).unlink()
    if content == "folder":
        (idx_folder / name).mkdir()
    elif content is not None:
        (idx_folder / name).write_bytes(content)
    assert re.search(message, refused(module, idx_folder)), message


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([(), (2, 2)]))
def test_any_bytes_are_read_or_refused(content: bytes, shape: tuple[int, ...]) -> None:
    path = Path("any")
    for raw in (content, b"\0\0\x08" + content):
        path.write_bytes(raw)
        try:
            found = idx.read(path, shape)
        except ValueError:
            continue
        assert idx_file(found) == raw


# CIFAR


def cifar_pickle(value: Any) -> bytes:
    """As Python 2's cPickle writes it with protocol 2: byte strings, and an array as NumPy of 2009 took it apart."""

    def write(v: Any) -> bytes:
        if isinstance(v, dict):
            return b"}(" + b"".join(write(x) for item in v.items() for x in item) + b"u"
        if isinstance(v, list):
            return b"](" + b"".join(map(write, v)) + b"e"
        if isinstance(v, tuple):
            return b"(" + b"".join(map(write, v)) + b"t"
        if isinstance(v, np.ndarray):
            kind = b"cnumpy\ndtype\n(" + write(v.dtype.str[1:].encode()) + b"K\x00K\x01tR"
            kind += b"(K\x03" + write(v.dtype.str[:1].encode()) + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
            start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + write(b"b") + b"tR"
            fortran = v.flags.f_contiguous and not v.flags.c_contiguous
            raw = write(v.tobytes(order="F" if fortran else "C"))
            return start + b"(K\x01" + write(v.shape) + kind + (b"\x88" if fortran else b"\x89") + raw + b"tb"
        if isinstance(v, bytes):
            return b"U" + bytes([len(v)]) + v if len(v) < 256 else b"T" + struct.pack("<I", len(v)) + v
        return b"J" + struct.pack("<i", v)

    return b"\x80\x02" + write(value) + b"."


def rows(count: int, **labels: list[int]) -> dict[bytes, Any]:
    """A batch as it is published; each image's red, green and blue planes one after the other."""
    filenames = [f"picture_{i}.png".encode() for i in range(count)]
    data = RANDOM.integers(0, 256, (count, 3072), np.uint8)
    return {
        b"batch_label": b"training batch 1 of 5",
        **{key.encode(): value for key, value in labels.items()},
        b"data": data,
        b"filenames": filenames,
    }


def turning(count: int, classes: int, start: int = 0) -> list[int]:
    return [(start + i) % classes for i in range(count)]


COUNT = {cifar10: 4, cifar100: 20}
MEMBERS = {
    cifar10: {
        "batches.meta": {
            b"num_cases_per_batch": 10000,
            b"label_names": [f"class {i}".encode() for i in range(10)],
            b"num_vis": 3072,
        },
        **{f"data_batch_{i}": rows(4, labels=turning(4, 10, i)) for i in range(1, 6)},
        "test_batch": rows(4, labels=turning(4, 10, 6)),
    },
    cifar100: {
        "meta": {
            b"fine_label_names": [f"fine {i}".encode() for i in range(100)],
            b"coarse_label_names": [f"coarse {i}".encode() for i in range(20)],
        },
        "train": rows(20, coarse_labels=turning(20, 20), fine_labels=turning(20, 100, 80)),
        "test": rows(20, coarse_labels=turning(20, 20, 3), fine_labels=turning(20, 100, 5)),
    },
}
FOLDER = {cifar10: "cifar-10-batches-py", cifar100: "cifar-100-python"}
ARCHIVE = {cifar10: "cifar-10-python.tar.gz", cifar100: "cifar-100-python.tar.gz"}
META = {cifar10: "batches.meta", cifar100: "meta"}
TRAIN = {cifar10: [f"data_batch_{i}" for i in range(1, 6)], cifar100: ["train"]}
TEST = {cifar10: "test_batch", cifar100: "test"}
NAMES = {cifar10: b"label_names", cifar100: b"fine_label_names"}
LABEL = {cifar10: b"labels", cifar100: b"fine_labels"}


def packed(members: dict[str, bytes], extra: Callable[[tarfile.TarFile], None] = lambda tar: None) -> bytes:
    """A gzipped archive of members by path."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as tar:
        extra(tar)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def members(module: ModuleType, **changed: Any) -> dict[str, bytes]:
    """The pickles of a data set by path; ``changed`` ones are bytes, None where missing, or values to be pickled."""
    values = MEMBERS[module] | changed
    return {
        f"{FOLDER[module]}/{name}": value if isinstance(value, bytes) else cifar_pickle(value)
        for name, value in values.items()
        if value is not None
    }


@pytest.fixture
def archived(tmp_path: Path) -> Callable[..., Path]:
    """Puts an archive into a folder."""

    def put(module: ModuleType, content: bytes) -> Path:
        folder = tmp_path / "cifar"
        folder.mkdir(exist_ok=True)
        (folder / ARCHIVE[module]).write_bytes(content)
        return folder

    return put


def assert_cifar(module: ModuleType, data: Dataset, label: bytes | None = None) -> None:
    batches = [MEMBERS[module][name] for name in TRAIN[module]]
    label = label or LABEL[module]
    for part, published in ((data.train, batches), (data.test, [MEMBERS[module][TEST[module]]])):
        flat = np.concatenate([b[b"data"] for b in published])
        assert part.x.shape == (len(flat), 32, 32, 3)
        for channel in range(3):
            plane = flat[:, 1024 * channel : 1024 * (channel + 1)].reshape(-1, 32, 32)
            np.testing.assert_array_equal(part.x[..., channel], plane)
        np.testing.assert_array_equal(part.y, np.concatenate([b[label] for b in published]))
        assert (part.x.dtype, part.y.dtype, part.x.flags.c_contiguous) == (np.uint8, np.int32, True)
    assert (data.kind, data.inputs.shape, data.val) == ("image", (32, 32, 3), None)


@each_cifar
def test_cifar_packed_and_unpacked(
    module: ModuleType, archived: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = archived(module, packed(members(module)))
    assert_cifar(module, load(module, folder=str(folder)))
    assert everything(folder) == [ARCHIVE[module]], "nothing is unpacked"

    (folder / ARCHIVE[module]).unlink()
    (folder / FOLDER[module]).mkdir()
    for name, content in members(module).items():
        (folder / name).write_bytes(content)
    assert_cifar(module, load(module, folder=str(folder)))
    assert_cifar(module, load(module, folder=str(folder / FOLDER[module])))
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path))
    folder.rename(tmp_path / module.SOURCE.folder)
    assert_cifar(module, load(module, download=False))


def test_class_names_and_both_kinds_of_labels(archived: Callable[..., Path]) -> None:
    folder = str(archived(cifar10, packed(members(cifar10))))
    assert load(cifar10, folder=folder).classes == tuple(f"class {i}" for i in range(10))
    folder = str(archived(cifar100, packed(members(cifar100))))
    for labels, count in (("fine", 100), ("coarse", 20)):
        data = load(cifar100, folder=folder, labels=labels)
        assert data.classes == tuple(f"{labels} {i}" for i in range(count))
        assert_cifar(cifar100, data, f"{labels}_labels".encode())


def test_arrays_in_the_order_of_fortran() -> None:
    for values in (np.arange(24, dtype=np.uint8).reshape(4, 6), np.asfortranarray(np.arange(24).reshape(4, 6) % 7)):
        values = values.astype(np.uint8, order="K")
        np.testing.assert_array_equal(cifar.unpickle(cifar_pickle({b"data": values}))[b"data"], values)
    assert values.flags.f_contiguous


def test_the_pickles_of_these_tests_are_pickles() -> None:
    value = {b"a": [1, -2, 70000], b"b": b"x" * 300, b"c": (1, b"y")}
    assert pickle.loads(cifar_pickle(value), encoding="bytes") == value
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    found = pickle.loads(cifar_pickle({b"d": array, b"e": np.asfortranarray(array)}), encoding="bytes")
    np.testing.assert_array_equal(found[b"d"], array)
    np.testing.assert_array_equal(found[b"e"], array)
    assert found[b"d"].dtype == np.uint8


def changed(module: ModuleType, **values: Any) -> dict[bytes, Any]:
    """The first batch of training rows with other entries."""
    batch = MEMBERS[module][TRAIN[module][0]] | {key.encode(): value for key, value in values.items()}
    return {key: value for key, value in batch.items() if value is not None}


def batch(module: ModuleType, **values: Any) -> bytes:
    """An archive whose first batch has other entries; ``y`` are its labels."""
    if "y" in values:
        values[LABEL[module].decode()] = values.pop("y")
    return packed(members(module, **{TRAIN[module][0]: changed(module, **values)}))


def with_pickle(raw: bytes) -> Callable[[ModuleType], bytes]:
    return lambda m: packed(members(m, **{TRAIN[m][0]: raw}))


def corrupt(raw: bytes) -> bytes:
    """With other bytes in its middle."""
    middle = len(raw) // 2
    return raw[:middle] + bytes(b ^ 1 for b in raw[middle : middle + 9]) + raw[middle + 9 :]


def reversed_batch(module: ModuleType) -> bytes:
    whole = members(module)
    return packed(dict(reversed(whole.items())))


BROKEN_CIFAR: dict[str, tuple[Callable[[ModuleType], bytes], str]] = {
    "empty": (lambda m: b"", "empty file|can't be read"),
    "no archive": (lambda m: b"<html>not found</html>", "Not a gzipped file"),
    "gzip of something else": (lambda m: gzip.compress(b"hello" * 1000), "invalid header|truncated header"),
    "truncated": (lambda m: packed(members(m))[:-9000], "Compressed file ended|unexpected end of data"),
    "corrupt": (lambda m: corrupt(packed(members(m))), "CRC check failed|[Ii]nvalid|Error -3"),
    "empty archive": (lambda m: packed({}), "no "),
    "a batch missing": (lambda m: packed(members(m, **{TRAIN[m][-1]: None})), r"no (data_batch_5|train)$"),
    "meta missing": (lambda m: packed(members(m, **{META[m]: None})), r"no (batches\.)?meta$"),
    "another folder": (lambda m: packed({f"x/{k}": v for k, v in members(m).items()}), "no "),
    "empty batch": (lambda m: packed(members(m, **{TRAIN[m][0]: b""})), r"not a pickle of images \(Ran out of input"),
    "truncated batch": (
        lambda m: packed(members(m, **{TRAIN[m][0]: cifar_pickle(changed(m))[:-300]})), "not a pickle of images"),
    "text": (with_pickle(b"hello"), "not a pickle of images"),
    "a list": (with_pickle(cifar_pickle([1])), "no dict"),
    "no images": (lambda m: batch(m, data=None), r"has no images of 3x32x32 bytes"),
    "images as text": (lambda m: batch(m, data=b"text"), "has no images"),
    "images of another size": (lambda m: batch(m, data=np.zeros((4, 28 * 28), np.uint8)), "has no images"),
    "images without rows": (lambda m: batch(m, data=np.zeros(3072, np.uint8)), "has no images"),
    "zero images": (lambda m: batch(m, data=np.zeros((0, 3072), np.uint8), y=[]), "has no images"),
    "images of floats": (lambda m: batch(m, data=np.zeros((4, 3072), np.float32)), "numbers of type b'f4'"),
    "no labels": (lambda m: batch(m, y=None), "has not one of (fine_)?labels for each of its"),
    "fewer labels": (lambda m: batch(m, y=[1, 2, 3]), r"has not one of \w+ for each of its (4|20) images"),
    "more labels": (lambda m: batch(m, y=[1] * 21), "has not one of"),
    "label too large": (
        lambda m: batch(m, y=[0] * (COUNT[m] - 1) + [len(MEMBERS[m][META[m]][NAMES[m]])]), "labels beyond 0 to 9"),
    "label negative": (lambda m: batch(m, y=[-1] * COUNT[m]), "labels beyond 0 to"),
    "labels of text": (lambda m: batch(m, y=[b"cat"] * COUNT[m]), "has not one of"),
    "no names": (lambda m: packed(members(m, **{META[m]: {}})), "has not (10 label|100 fine_label)_names"),
    "fewer names": (
        lambda m: packed(members(m, **{META[m]: {b"label_names": [b"a"], b"fine_label_names": [b"a"]}})), "has not"),
}  # fmt: skip


@each_cifar
@pytest.mark.parametrize("case", BROKEN_CIFAR)
def test_broken_cifar_archives(module: ModuleType, archived: Callable[..., Path], case: str) -> None:
    content, message = BROKEN_CIFAR[case]
    folder = archived(module, content(module))
    line = refused(module, folder)
    assert f"must hold valid CIFAR files: {folder / ARCHIVE[module]}: " in line
    assert re.search(message, line), line


@each_cifar
def test_an_unpacked_folder_with_a_file_missing(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / FOLDER[module]).mkdir()
    for name, content in members(module).items():
        (tmp_path / name).write_bytes(content)
    missing = tmp_path / FOLDER[module] / TEST[module]
    missing.unlink()
    assert refused(module, tmp_path).endswith(f"{missing}: No such file or directory")


@each_cifar
def test_the_order_of_members_does_not_matter(module: ModuleType, archived: Callable[..., Path]) -> None:
    assert_cifar(module, load(module, folder=str(archived(module, reversed_batch(module)))))


# Malice


class Call:
    """Pickled, it is a call."""

    def __init__(self, function: Callable[..., Any], *args: Any):
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


TOUCH = "touched"
MALICIOUS = {
    "os.system": pickle.dumps(Call(os.system, f"touch {TOUCH}"), 2),
    "within a dict": pickle.dumps({b"data": Call(os.system, f"touch {TOUCH}")}, 2),
    "eval": pickle.dumps(Call(eval, f"open({TOUCH!r}, 'w')"), 2),
    "newest protocol": pickle.dumps(Call(os.mkdir, TOUCH), 5),
    "oldest protocol": pickle.dumps(Call(os.mkdir, TOUCH), 0),
    "old class": b"(S'touched'\nios\nmkdir\n.",
    "a name with dots": b"\x80\x04\x8c\x05numpy\x8c\x0fos.path.os.mkdir\x93\x8c\x07touched\x85R.",
    "NumPy's own": b"\x80\x02cnumpy\nfromfile\n(U\x0b/etc/passwdtR.",
    "NumPy of today": pickle.dumps({b"data": np.zeros((4, 3072), np.uint8)}, 5),
    "an array of objects": pickle.dumps({b"data": np.array([Call(os.mkdir, TOUCH)], object)}, 2),
    "another kind of number": cifar_pickle({b"data": np.zeros(3)}),
    "an array without its values": b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n)Ru.",
    "a class as the array": b"\x80\x02}(U\x04datacnumpy\nndarray\nu.",
    "other state": b"\x80\x02}(U\x04datacnumpy\nndarray\n)R}(U\x05arrayK\x01ubu.",
    "state of a class": b"\x80\x02}(U\x04datacnumpy\nndarray\n}(U\x05arrayK\x01ubu.",
    "fewer values than fit": cifar_pickle({b"data": np.zeros(9, np.uint8)}).replace(b"U\x09\0", b"U\x08"),
    "a persistent id": b"Pos\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "itself": b"\x80\x02}q\x00(U\x04datah\x00u.",
}


@pytest.mark.parametrize("case", MALICIOUS)
def test_a_pickle_can_do_nothing(archived: Callable[..., Path], tmp_path: Path, case: str) -> None:
    raw = MALICIOUS[case]
    folder = archived(cifar10, packed(members(cifar10, data_batch_1=raw)))
    before = everything(tmp_path)
    line = refused(cifar10, folder)
    assert re.search("not a pickle of images|has no images", line)
    assert everything(tmp_path) == before
    with pytest.raises(ValueError, match=r"not a pickle of images|has no images"):
        cifar.rows("data_batch_1", raw, cifar10.LAYOUT)


def test_what_these_pickles_would_do_is_something(tmp_path: Path) -> None:
    for case in ("os.system", "newest protocol", "oldest protocol", "old class"):
        pickle.loads(MALICIOUS[case])
        touched = tmp_path / TOUCH
        assert touched.exists()
        touched.rmdir() if touched.is_dir() else touched.unlink()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_a_pickle_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(cifar_pickle({b"data": np.zeros((1, 4), np.uint8), b"labels": [1]}))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 127))
    if b"r" in raw or b"j" in raw:  # a memo of any size: the unpickler would allot it
        return
    try:
        found = cifar.unpickle(bytes(raw))
    except ValueError:
        return
    assert isinstance(found, dict)


def test_members_are_never_written(archived: Callable[..., Path], tmp_path: Path) -> None:
    """An archive whose members lead out of it, as links or by name, is read without following them."""

    def evil(tar: tarfile.TarFile) -> None:
        for name in ("../outside", "/tmp/outside", f"{FOLDER[cifar10]}/../../outside"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"evil"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo(f"{FOLDER[cifar10]}/link")
            info.type, info.linkname = kind, "../../../etc/passwd"
            tar.addfile(info)

    folder = archived(cifar10, packed(members(cifar10), evil))
    before = everything(tmp_path)
    assert_cifar(cifar10, load(cifar10, folder=str(folder)))
    assert everything(tmp_path) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_file_is_none(archived: Callable[..., Path], tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "secret").write_bytes(cifar_pickle(MEMBERS[cifar10]["test_batch"]))

    def link(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(f"{FOLDER[cifar10]}/test_batch")
        info.type, info.linkname = kind, str(tmp_path / "secret")
        tar.addfile(info)

    folder = archived(cifar10, packed(members(cifar10, test_batch=None), link))
    assert refused(cifar10, folder).endswith("no test_batch")


def test_a_member_beyond_measure(archived: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = archived(cifar10, packed(members(cifar10)))
    monkeypatch.setattr(cifar, "LARGEST", 1000)
    assert re.search(r"cifar-10-batches-py/data_batch_1 has \d+ bytes$", refused(cifar10, folder))


# Downloaded


PACKED = {
    mnist: PUBLISHED,
    fashion_mnist: PUBLISHED,
    cifar10: {ARCHIVE[cifar10]: packed(members(cifar10))},
    cifar100: {ARCHIVE[cifar100]: packed(members(cifar100))},
}


@each_set
def test_download(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Site(cuts=[1000]) as site:
        serve(site, module, PACKED[module], monkeypatch)
        data = load(module)
        assert len(site.requests) == len(PACKED[module]) + 1
        again = load(module)
        assert len(site.requests) == len(PACKED[module]) + 1, "what is at hand is not fetched"
    load(module)  # offline
    for found in (data, again):
        if module in (mnist, fashion_mnist):
            assert_idx(found)
        else:
            assert_cifar(module, found)
    place = tmp_path / "xdg_data_home/datasets" / module.SOURCE.folder
    assert everything(place) == sorted(PACKED[module])


@each_set
def test_what_is_published(module: ModuleType) -> None:
    original = importlib.reload(importlib.import_module(module.__name__)).SOURCE
    assert len({f.sha256 for f in original.files}) == len(original.files)
    for file in original.files:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert re.fullmatch(r"[\w-]+(\.tar)?\.gz", file.name)
    assert len(original.mirrors) > 1
    for mirror in original.mirrors:
        assert re.fullmatch(r"https?://[\w.-]+(/[\w~-]+)*", mirror)


def test_the_real_fashion_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_DATA_HOME", "XDG_DATA_DIRS"):
        monkeypatch.delenv(name)
    try:
        data = load(fashion_mnist, download=False)
    except Unfit:
        pytest.skip("Fashion-MNIST is not on this machine")
    assert (data.train.x.shape, data.test.x.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert (np.bincount(data.train.y) == 6000).all()
    assert (np.bincount(data.test.y) == 1000).all()
    # The mean and deviation that everyone normalises with: 0.2860 and 0.3530 of 255.
    mean, std = moments(data.train.x)
    assert mean[0] / 255 == pytest.approx(0.2860, abs=1e-4)
    assert std[0] / 255 == pytest.approx(0.3530, abs=1e-4)
    assert data.train.y[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]


# On the command line


def wrong(outcome: Outcome, folder: Path, there: list[str]) -> str:
    """The line of a command that was refused and made nothing."""
    lines = [line for line in outcome.err.splitlines() if not line.startswith("downloading ")]
    assert (outcome.code, outcome.out, len(lines)) == (2, "", 1), outcome.err
    assert everything(folder) == there
    assert lines[0].startswith("error: ")
    return lines[0]


@each_set
def test_a_refused_command(
    module: ModuleType, dlrun: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = f"data={name_of(module)}"
    line = wrong(dlrun(choice, "data.download=false"), tmp_path, [])
    assert line.startswith(f"error: data.folder=null: must hold {module.SOURCE.files[0].name}")
    assert "by hand from http://127.0.0.1:1/none" in line
    line = wrong(dlrun(choice), tmp_path, [])
    assert "downloading failed (127.0.0.1:1: Connection refused)" in line
    line = wrong(dlrun(choice, "data.folder=nowhere"), tmp_path, [])
    assert line == "error: data.folder=nowhere: must be a folder that exists"
    with Site(PACKED[module], status=500) as site:
        monkeypatch.setattr(module, "SOURCE", replace(module.SOURCE, mirrors=(site.url,)))
        assert f"({site.host}: HTTP 500)" in wrong(dlrun(choice), tmp_path, [])
    with Site() as site:
        serve(site, module, PACKED[module], monkeypatch)
        first = module.SOURCE.files[0]
        body = PACKED[module][first.name]
        site.files[f"/{first.name}"] = body[:-1] + bytes([body[-1] ^ 1])
        assert f"({site.host}: wrong checksum)" in wrong(dlrun(choice), tmp_path, [])


def test_a_refused_value(dlrun: Callable[..., Outcome], tmp_path: Path) -> None:
    line = wrong(dlrun("data=cifar100", "data.labels=medium"), tmp_path, [])
    assert line.startswith("error: data.labels=medium: not allowed; allowed: fine, coarse")
    line = wrong(dlrun("data=mnist", "data.download=maybe"), tmp_path, [])
    assert line.startswith("error: data.download=maybe: not allowed; allowed: true or false")
    line = wrong(dlrun("data=mnist", "data.folder=''"), tmp_path, [])
    assert line.startswith("error: data.folder=: not allowed; allowed: text")


WAITING = {"timeout": 20.0, "min_rate": 1.0}


def test_a_run_on_downloaded_data(dlrun: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    with Site() as site:
        serve(site, mnist, PUBLISHED, monkeypatch)
        outcome = dlrun("data=mnist", "batch_size=8", *QUICK)
    assert outcome.code == 0, outcome.err
    assert outcome.run["rows"] == {"train": 54, "val": 6, "test": 60}
    assert outcome.run["config"]["data"] == {"name": "mnist", "folder": None, "download": True, **WAITING}
    assert f"downloading train-images-idx3-ubyte.gz (46 KiB) from {site.host}" in outcome.err
