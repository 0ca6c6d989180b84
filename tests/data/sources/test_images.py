"""Folders of images: how they are found and decoded, what is wrong with them, and training on them."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlrun.data.readers import pictures
from dlrun.data.readers.pictures import Form
from dlrun.data.sources.images import ImageFiles, images
from dlrun.errors import Unfit
from tests.digest import digest

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 60), "red": (230, 20, 10)}


def save(file: Path, picture: Image.Image | tuple[int, int, int], size: tuple[int, int] = (20, 12), **how) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = picture if isinstance(picture, Image.Image) else Image.new("RGB", size, picture)
    picture.save(file, **how)


def folder(root: Path, n: int = 3) -> Path:
    """``n`` images of each of three classes, of mixed sizes."""
    for label, colour in COLOURS.items():
        for i in range(n):
            shade = tuple(min(c + 2 * i, 255) for c in colour)
            save(root / label / f"{i}.png", shade, size=(9 + i % 5, 14 - i % 3))
    return root


def gradient(width: int, height: int) -> np.ndarray:
    """Grows from left to right and, more slowly, from top to bottom."""
    x, y = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 50, height))
    return (x + y).round().astype(np.uint8)


def decode(file: str, size: int, mode: str) -> np.ndarray:
    return pictures.decode(file, Form(size, mode))


# What is found


def test_classes_are_folders_in_their_order(own_folder: Path) -> None:
    data = images(path=str(folder(own_folder / "x")), size=8)
    assert (data.kind, data.classes, data.val, data.test) == ("image", ("blue", "green", "red"), None, None)
    assert data.inputs.shape == (8, 8, 3)
    np.testing.assert_array_equal(data.train.y, np.repeat(np.arange(3), 3))
    assert data.train.y.dtype == np.int32
    for i, colour in enumerate(COLOURS.values()):
        np.testing.assert_array_equal(data.train.x[3 * i : 3 * i + 1], np.full((1, 8, 8, 3), colour))


def test_rows_are_decoded_as_they_are_indexed(own_folder: Path) -> None:
    x = images(path=str(folder(own_folder / "x")), size=5).train.x
    assert isinstance(x, ImageFiles)
    assert (x.shape, x.dtype, len(x)) == ((9, 5, 5, 3), np.uint8, 9)
    whole = x[:]
    assert (whole.shape, whole.dtype) == (x.shape, x.dtype)
    for index in (np.array([8, 0, 8]), np.arange(9) % 2 == 0, slice(2, 5), np.array([], int)):
        np.testing.assert_array_equal(x[index], whole[index])


def test_splits_that_are_there_are_taken(own_folder: Path) -> None:
    root = own_folder / "x"
    for split, n in {"train": 4, "val": 2, "test": 1}.items():
        folder(root / split, n)
    (root / "notes").mkdir()
    data = images(path=str(root))
    assert [len(part) for part in (data.train, data.val, data.test)] == [12, 6, 3]
    assert data.classes == tuple(COLOURS)
    assert {Path(f).parents[1].name for f in data.val.x.files} == {"val"}


def test_a_class_may_be_called_train(own_folder: Path) -> None:
    root = own_folder / "x"
    for vehicle in ("car", "train"):
        save(root / vehicle / "1.png", COLOURS["red"])
    assert images(path=str(root)).classes == ("car", "train")


def test_other_and_hidden_files_are_left_out(own_folder: Path) -> None:
    root = folder(own_folder / "x", 1)
    (root / "red" / "notes.txt").write_text("no image")
    (root / "red" / "._0.png").write_bytes(b"what a Mac leaves on foreign disks")
    (root / "red" / "more.png").mkdir()
    (root / ".cache").mkdir()
    (root / "readme.md").write_text("no folder")
    save(root / "red" / "UPPER.JPG", COLOURS["red"])
    data = images(path=str(root))
    assert data.classes == tuple(COLOURS)
    assert [os.path.basename(f) for f in data.train.x.files] == ["0.png", "0.png", "0.png", "UPPER.JPG"]


# How they are decoded


def test_shorter_side_is_resized_and_the_middle_kept(own_folder: Path) -> None:
    for width, height in ((96, 32), (32, 96)):
        picture = gradient(width, height)
        save(own_folder / "x.png", Image.fromarray(picture))
        middle = picture[:, 32:64] if width > height else picture[32:64]
        np.testing.assert_array_equal(decode(str(own_folder / "x.png"), 32, "L"), middle)
        half = middle.reshape(16, 2, 16, 2).mean((1, 3))
        np.testing.assert_allclose(decode(str(own_folder / "x.png"), 16, "L"), half, atol=4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_is_converted(own_folder: Path, mode: str) -> None:
    gray = gradient(16, 16)
    match mode:
        case "1":
            gray = np.where(gray > 100, 255, 0).astype(np.uint8)
            picture = Image.fromarray(gray).convert("1")
        case "P":
            picture = Image.fromarray(gray).convert("P")
        case _:
            picture = Image.merge("RGB", [Image.fromarray(gray)] * 3).convert(mode)
    assert picture.mode == mode
    file = own_folder / ("x.tif" if mode in ("CMYK", "YCbCr") else "x.png")
    save(file, picture)
    np.testing.assert_allclose(decode(str(file), 16, "L"), gray, atol=1)
    np.testing.assert_allclose(decode(str(file), 16, "RGB"), np.stack([gray] * 3, -1), atol=1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "webp", "tiff", "pgm"])
def test_formats(own_folder: Path, suffix: str) -> None:
    picture = gradient(16, 16)
    file = own_folder / f"x.{suffix}"
    save(file, Image.fromarray(picture), **({"quality": 95} if suffix in ("jpg", "webp") else {}))
    np.testing.assert_allclose(decode(str(file), 16, "L"), picture, atol=6)


def test_a_picture_is_turned_as_the_camera_says(own_folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the top is at the right
    save(own_folder / "x.png", Image.fromarray(np.rot90(gradient(16, 16)).copy()), exif=exif)
    np.testing.assert_array_equal(decode(str(own_folder / "x.png"), 16, "L"), gradient(16, 16))


def test_a_large_jpeg_decoded_smaller_is_the_same_picture(own_folder: Path) -> None:
    save(own_folder / "x.jpg", Image.fromarray(gradient(800, 800)), quality=95)
    save(own_folder / "x.png", Image.fromarray(gradient(800, 800)))
    jpeg, png = (decode(str(own_folder / name), 32, "L").astype(int) for name in ("x.jpg", "x.png"))
    assert np.abs(jpeg - png).max() <= 3


def test_channels(own_folder: Path) -> None:
    data = images(path=str(folder(own_folder / "x")), size=6, channels="gray")
    assert data.inputs.shape == (6, 6, 1)
    luma = [round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in COLOURS.values()]
    np.testing.assert_allclose(data.train.x[::3][:, 0, 0, 0], luma, atol=1)


# What is wrong


def remove(root: Path, label: str) -> None:
    for file in (root / label).iterdir():
        file.unlink()
    (root / label).rmdir()


def only(root: Path, *keep: str) -> None:
    for label in COLOURS.keys() - set(keep):
        remove(root, label)


def split(root: Path, change: Callable[[Path], None]) -> None:
    only(root)
    folder(root / "train")
    folder(root / "test")
    change(root / "test")


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (only, "{root} has no folder"),
    "one class": (lambda root: only(root, "red"), "{root} has only the class red"),
    "one class in train/": (lambda root: (split(root, lambda p: None), only(root / "train", "red")), "train has only"),
    "no images": (lambda root: (remove(root, "red"), (root / "red").mkdir()), "{root}/red has none"),
    "test lacks a class": (
        lambda root: split(root, lambda p: only(p, "red", "blue")), "train/ has green, test/ has not"
    ),
    "test has another": (
        lambda root: split(root, lambda p: save(p / "pink" / "1.png", (255, 99, 255))), "test/ has pink, train/ has not"
    ),
    "no image in test": (
        lambda root: split(root, lambda p: (remove(p, "red"), (p / "red").mkdir())), "{root}/test/red has none"
    ),
    "empty file": (lambda root: (root / "red" / "a.png").write_bytes(b""), "{root}/red/a.png is empty"),
    "not an image": (lambda root: (root / "red" / "a.jpg").write_bytes(b"x" * 99), "{root}/red/a.jpg is not an image"),
    "two of them": (
        lambda root: [(root / "red" / f"{c}.png").write_bytes(b"x") for c in "ab"], "be read, and 1 more"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_folders(own_folder: Path, case: str) -> None:
    root = folder(own_folder / "x")
    spoil, message = WRONG[case]
    spoil(root)
    with pytest.raises(Unfit) as error:
        images(path=str(root))
    text = error.value.at("data")
    assert text.startswith("data.path=")
    assert message.format(root=root) in text
    assert "\n" not in text


def test_bad_input_creates_nothing(dlrun, own_folder: Path) -> None:
    (own_folder / "file").write_text("x")
    root = folder(own_folder / "x")
    before = sorted(own_folder.rglob("*"))
    for words, message in (
        ((), "data.path=null: must name a folder"),
        (("data.path=nowhere",), "it does not exist"),
        (("data.path=file",), "it is a file"),
        ((f"data.path={root}", "data.size=0"), "data.size=0: not allowed"),
        ((f"data.path={root}", "data.channels=cmyk"), "allowed: rgb, gray"),
    ):
        refused = dlrun("data=images", *words)
        assert refused.code == 2
        assert message in refused.err
        assert len(refused.err.splitlines()) == 1
    assert sorted(own_folder.rglob("*")) == before


def truncated(file: Path) -> None:
    save(file, Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    file.write_bytes(file.read_bytes()[:2000])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_truncated_file_is_named(own_folder: Path, mode: str) -> None:
    for name in ("x.png", "x.jpg", "x.bmp"):
        file = own_folder / name
        truncated(file)
        with pytest.raises(OSError, match="can't be decoded") as error:
            decode(str(file), 16, mode)
        assert error.value.filename == str(file)


WORDS = ("data=images", "data.path=x", "data.size=8", "batch_size=8", "model.widths=[8]", "norm=none", "log.plot=false")


def test_a_damaged_image_fails_the_run_with_its_name(dlrun, own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(own_folder / "x", 20)
    truncated(own_folder / "x" / "green" / "10.png")  # its head is sound
    failed = dlrun(*WORDS, "split.val=6", "split.test=6", "epochs=2")
    message = "an image can't be decoded (image file is truncated"
    assert failed.code == 1
    assert message in failed.err.splitlines()[-1]
    assert failed.err.splitlines()[-1].endswith("green/10.png")
    assert "Traceback" not in failed.err
    assert failed.run["status"] == "failed"
    assert message in failed.run["error"]
    # Also where the sample that inputs are standardised by has missed it.
    monkeypatch.setattr("dlrun.data.lazy.SAMPLE", 4)
    later = dlrun(*WORDS, "split.val=6", "split.test=6", "epochs=2")
    assert later.code == 1
    assert later.err.splitlines()[-1].endswith("green/10.png")


# Training


def test_streamed_images_train_as_those_in_memory(dlrun, own_folder: Path) -> None:
    folder(own_folder / "x", 40)
    words = (*WORDS, "epochs=6", "optim.lr=0.01", "split.val=0.1")
    streamed, resident = dlrun(*words), dlrun(*words, "stream.when=never")
    assert streamed.code == 0, streamed.err
    assert digest(streamed.directory) == digest(resident.directory)
    assert streamed.summary["test/accuracy"] == 1.0
    assert streamed.run["classes"] == list(COLOURS)
