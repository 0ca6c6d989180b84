"""What a folder of images holds: splits by any name, folders within folders, links, and what is left out."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlrun.data.dataset import Dataset
from dlrun.data.sources.images import images
from dlrun.errors import Unfit
from tests.digest import digest
from tests.picture_files import png, tiff

RANDOM = np.random.default_rng(0)


def save(*files: str) -> None:
    """Each a grey image of its own."""
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RANDOM.integers(0, 256, (8, 8)).astype(np.uint8)).save(file)


def tree(*folders: str, n: int = 2) -> None:
    """``n`` images in each folder of ``x``."""
    save(*(f"x/{folder}/{i}.png" for folder in folders for i in range(n)))


def load(**keys: object) -> Dataset:
    return images(path="x", size=8, **keys)  # pyright: ignore[reportArgumentType]


def names(data: Dataset, split: str = "train") -> list[str]:
    return [file.removeprefix("x/") for file in getattr(data, split).x.files]


def refused(**keys: object) -> str:
    with pytest.raises(Unfit) as error:
        load(**keys)
    text = error.value.at("data")
    assert "\n" not in text
    return text


def classes(*splits: str) -> Iterable[str]:
    return (f"{split}/{name}" for split in splits for name in "ab")


# Splits


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("val", ["val", "Val", "valid", "validation", "VALID", "dev", "eval", None])
@pytest.mark.parametrize("test", ["test", "Test", "testing", None])
def test_splits_have_several_names(own_folder: Path, train: str, val: str | None, test: str | None) -> None:
    there = {"train": train, "val": val, "test": test}
    tree(*classes(*filter(None, there.values())))
    data = load()
    assert data.classes == ("a", "b")
    for split, name in there.items():
        if name is None:
            assert getattr(data, split) is None
        else:
            assert names(data, split) == [f"{name}/{c}/{i}.png" for c in "ab" for i in range(2)]
    assert data.facts["files"]["taken"] == {split: 4 for split, name in there.items() if name}
    assert data.warnings == ()


def test_a_split_may_be_a_link(own_folder: Path) -> None:
    tree(*classes("train"))
    save("elsewhere/a/1.png", "elsewhere/b/1.png")
    os.symlink("../elsewhere", "x/val")
    assert names(load(), "val") == ["val/a/1.png", "val/b/1.png"]


SUSPECT: dict[str, tuple[list[str], str]] = {
    "two of one": ([*classes("train", "val", "valid")], "hold one folder per split: val/ and valid/ are both val"),
    "in two cases": ([*classes("train", "Train")], "Train/ and train/ are both train"),
    "another name": ([*classes("train", "test2")], "test2/ looks like one; call it test/ or val/"),
    "another name, with all three": (
        [*classes("train", "val", "test", "holdout_set")], "holdout_set/ looks like one; move it away"
    ),
    "the same classes": ([*classes("train", "test", "later")], "later/ looks like one; call it val/"),
    "no training": ([*classes("test", "val")], "there is none, but test/ and val/"),
    "training by another name": ([*classes("train_images", "test")], "there is none, but test/ and train_images/"),
    "splits without classes": (
        ["train", "test"], "with a folder for each class in it, where it has splits: train/ holds none"
    ),
    "years": (["train2017", "val2017"], "there is none, but train2017/ and val2017/"),
    "splits below classes": (
        ["a/train", "a/test", "b/train", "b/test"], "above classes: x/a holds splits; make it test/a/ and train/a/"
    ),
    "classes beside train": (
        ["train/steam", "train/diesel", "car"],
        "car/ beside it images, as a class does; for the first alone, name x/train",
    ),
    "test without classes": (
        [*classes("train"), "test"], "in each split: test/ has none; to cut it from training, name x/train"
    ),
    "one folder around all": (["inner/a", "inner/b"], "x has only the class inner; or name x/inner"),
}  # fmt: skip


@pytest.mark.parametrize("case", SUSPECT)
def test_what_looks_like_a_split_is_refused(own_folder: Path, case: str) -> None:
    folders, message = SUSPECT[case]
    tree(*folders)
    assert message in refused()


@pytest.mark.parametrize(
    "folders", [("car", "train"), ("train_station", "airport"), ("test", "airport"), ("dev", "ops"), ("set", "game")]
)
def test_classes_that_are_called_like_splits(own_folder: Path, folders: tuple[str, ...]) -> None:
    tree(*folders)
    assert load().classes == tuple(sorted(folders))


def test_a_class_that_holds_folders_called_like_splits(own_folder: Path) -> None:
    tree("vehicles/car", "vehicles/train", "animals/dog")
    data = load()
    assert data.classes == ("animals", "vehicles")
    assert len(data.train) == 6


def test_other_folders_beside_splits_are_counted(own_folder: Path) -> None:
    tree(*classes("train", "test"), "unlabelled")
    (own_folder / "x/notes").mkdir()
    data = load()
    assert data.facts["files"]["left_out"] == {"images in folders beside the splits": 2}
    assert data.warnings == ("data.path=x: 8 images used; left out: images in folders beside the splits 2",)


def test_classes_that_hold_the_same_folders_are_doubted(own_folder: Path) -> None:
    tree(*classes("first", "second"))
    data = load()
    assert data.classes == ("first", "second")
    assert data.warnings[0] == "data.path=x: the classes are first/ and second/, though each of them holds a/ and b/"


# Files


def test_folders_within_a_class_belong_to_it(own_folder: Path) -> None:
    """As torchvision's ImageFolder has it."""
    tree("a", "a/deep/er", "b/deep")
    data = load()
    assert names(data) == [
        *(f"a/{i}.png" for i in range(2)),
        *(f"a/deep/er/{i}.png" for i in range(2)),
        *(f"b/deep/{i}.png" for i in range(2)),
    ]
    np.testing.assert_array_equal(data.train.y, [0, 0, 0, 0, 1, 1])
    assert data.facts["files"]["in_inner_folders"] == 4
    assert data.warnings == (
        "data.path=x: 4 of 6 images lie in subfolders of their class's folder, and belong to that class",
    )


def test_what_is_left_out_is_counted_by_reason(own_folder: Path) -> None:
    tree(*classes("train", "test"))
    (own_folder / "x/labels.csv").write_text("a,b")
    for folder in ("x/train/a", "x/test/b"):
        for name in ("1.json", "2.JSON", "Thumbs.db", "notes", ".DS_Store", "._0.png", "y.heic", "z.tar.gz"):
            (own_folder / folder / name).write_text("")
        os.symlink("nowhere.png", f"{folder}/broken.png")
        os.symlink("loop.png", f"{folder}/loop.png")
        os.mkfifo(f"{folder}/pipe.png")
    for name in (".cache", "@eaDir", "__MACOSX"):
        save(f"x/train/a/{name}/1.png")
    save("x/train/loose.png", "x/loose.png")
    data = load()
    left = {
        ".json": 4, ".db": 2, "without a suffix": 2, ".heic": 2, ".gz": 2, ".csv": 1, "hidden": 7, "broken links": 4,
        "neither files nor folders": 2, "images outside the class folders": 2,
    }  # fmt: skip
    assert data.facts["files"] == {
        "taken": {"train": 4, "test": 4}, "left_out": left,
        "in_inner_folders": 0, "several_frames": 0, "transparent": 0,
    }  # fmt: skip
    assert list(data.facts["files"]["left_out"].values()) == sorted(left.values(), reverse=True)
    (line,) = data.warnings
    assert line.startswith("data.path=x: 8 images used; left out: hidden 7, ")
    assert line.endswith(", and 2 other kinds")


def test_links_are_followed_and_loops_are_not(own_folder: Path) -> None:
    tree("a", "b")
    save("elsewhere/inner/1.png")
    os.symlink("../../elsewhere", "x/a/link")
    os.symlink("..", "x/a/up")  # to x, which holds a
    os.symlink(".", "x/a/self")
    os.symlink("../b/0.png", "x/a/y.png")
    data = load()
    assert [name for name in names(data) if name.startswith("a/")] == [
        "a/0.png", "a/1.png", "a/link/inner/1.png", "a/up/b/0.png", "a/up/b/1.png", "a/y.png",
    ]  # fmt: skip
    assert data.facts["files"]["left_out"] == {"folders seen before": 2}


def test_a_folder_that_can_not_be_read_is_named(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree("a/inner", "b")
    scandir = os.scandir

    def denied(folder: Path) -> object:  # a test may run as root, who may read all
        if Path(folder).name == "inner":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", denied)
    assert "x/a/inner can't be read: Permission denied" in refused()


def test_frames_and_transparency_are_counted(own_folder: Path) -> None:
    tree("a", "b")
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 99)]
    frames[0].save("x/a/film.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(RANDOM.integers(0, 256, (8, 8, 4)).astype(np.uint8)).save("x/b/glass.png")
    data = load(background="black")
    counts = data.facts["files"]
    assert (counts["several_frames"], counts["transparent"]) == (1, 1)
    assert data.warnings == (
        "data.path=x: 1 of 6 images have several frames; the first is used",
        "data.path=x: 1 of 6 images may be transparent, and are placed on data.background=black",
    )
    assert data.facts["background"] == "black"


# Depth


def deep(folder: str, n: int, top: int, kind: str = "png") -> None:
    """``n`` images of 16 bits with numbers up to ``top``."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        pixels = RANDOM.integers(0, top + 1, (8, 8)).astype(np.uint16)
        Path(f"{folder}/d{i}.{kind}").write_bytes(png(pixels[..., None]) if kind == "png" else tiff(pixels))


def test_images_of_8_bits_stay_bytes(own_folder: Path) -> None:
    tree("a", "b")
    data = load()
    assert data.train.x.dtype == np.uint8
    assert data.facts["depth"] == {"8 bits": 4}
    assert refused(white=255.0) == "data.white=255.0: must be null: all images are of 8 bits"


@pytest.mark.parametrize("top", [255, 4095, 65535])
def test_images_of_16_bits_keep_their_numbers(own_folder: Path, top: int) -> None:
    deep("x/train/a", 3, top)
    deep("x/train/b", 3, top, "tif")
    deep("x/test/a", 1, 9)  # darker than any in training: its numbers are the same all the same
    deep("x/test/b", 1, 9)
    data = load(channels="gray")
    assert data.train.x.dtype == data.test.x.dtype == np.float32
    assert data.facts["depth"] == {"16 bits": 8}
    for x in (data.train.x, data.test.x):
        raw = np.stack([np.asarray(Image.open(file)) for file in x.files])
        np.testing.assert_array_equal(x[:][..., 0], raw)
    mean, std = data.moments
    everything = data.train.x[:].astype(float)
    np.testing.assert_allclose([mean[0], std[0]], [everything.mean(), everything.std()], rtol=1e-5)
    kept = data.preprocessing()
    assert (kept["depth"], kept["white"]) == ({"16 bits": 8}, None)


def test_several_depths_need_to_be_told_what_is_white(own_folder: Path) -> None:
    tree("train/a", "train/b", "val/a", n=3)
    deep("x/val/b", 2, 4095)
    line = refused()
    assert line.startswith("data.white=null: must be the number that is white in images of more than 8 bits, such as ")
    assert line.endswith("2 of 16 bits (x/val/b/d1.png), 9 of 8 bits (x/val/a/2.png)")
    data = load(white=4095.0, channels="gray")
    assert data.train.x.dtype == data.val.x.dtype == np.float32
    with Image.open("x/val/b/d0.png") as picture:
        np.testing.assert_allclose(data.val.x[3:4][0, ..., 0], np.asarray(picture) * (255 / 4095), rtol=1e-6)
    with Image.open("x/val/a/0.png") as picture:
        np.testing.assert_array_equal(data.val.x[:1][0, ..., 0], np.asarray(picture))
    assert data.facts["white"] == 4095


# On the command line

WORDS = ("data=images", "data.path=x", "data.size=8", "batch_size=8", "model.widths=[8]", "norm=none", "log.plot=false")


def shades(folder: str, low: int, n: int = 30) -> None:
    """Images of 16 bits whose numbers fit 8."""
    Path(folder).mkdir(parents=True)
    for i in range(n):
        pixels = RANDOM.integers(low, low + 50, (8, 8, 3)).astype(np.uint16)
        Path(f"{folder}/{i}.png").write_bytes(png(pixels))


def test_dark_images_of_16_bits_are_learnt(dlrun, own_folder: Path) -> None:
    shades("x/dim", 0)
    shades("x/bright", 100)
    (own_folder / "x/dim/labels.json").write_text("{}")
    words = (*WORDS, "epochs=8", "optim.lr=0.01")
    streamed, resident = dlrun(*words), dlrun(*words, "stream.when=never")
    assert streamed.code == 0, streamed.err
    assert streamed.summary["test/accuracy"] == 1.0
    assert digest(streamed.directory) == digest(resident.directory)
    assert "warning: data.path=x: 60 images used; left out: .json 1" in streamed.err.splitlines()
    kept = json.loads((streamed.directory / "data.json").read_text())
    assert kept["files"]["left_out"] == {".json": 1}
    assert kept["depth"] == {"16 bits": 60}
    assert 50 < kept["input_mean"][0] < 100


def test_images_that_are_all_black(dlrun, own_folder: Path) -> None:
    for name in "ab":
        Path(f"x/{name}").mkdir(parents=True)
        for i in range(20):
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(f"x/{name}/{i}.png")
    done = dlrun(*WORDS, "epochs=1")
    assert done.code == 0
    assert "warning: nothing can be learnt from the inputs: the training images are all the same" in done.err
