"""A user's own folder of images."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt

from dlrun.config.schema import Count
from dlrun.config.settings import Text
from dlrun.data.dataset import Dataset, Rows
from dlrun.data.readers import files, folders, pictures
from dlrun.data.readers.folders import Found
from dlrun.data.readers.pictures import Form, Head
from dlrun.errors import Unfit

WHAT = "a folder with a folder of images for each class, or with train/ and perhaps val/ and test/ that have those"
MODES = {"rgb": "RGB", "gray": "L"}
BACKGROUNDS = {"white": 1.0, "black": 0.0}
SHOWN = 8  # how many reasons for leaving files out a warning lists
Channels = Literal["rgb", "gray"]
Background = Literal["white", "black"]


def images(
    *,
    path: Text | None = None,
    size: Count = 64,
    channels: Channels = "rgb",
    white: Annotated[float, Gt(0)] | None = None,
    background: Background = "white",
) -> Dataset:
    """Images in a folder for each class, decoded each time they are needed.

    An image is rotated as its camera says, resized so that its shorter side has ``size`` pixels (bilinear), and cropped
    to its middle square; grey, palette and CMYK images are converted to ``channels``. Numbers of 8 bits stay bytes;
    numbers of more bits, and floats, become float32.

    Args:
      path: the folder; the splits that it does not have are cut from training rows. Files in folders inside a class's
        folder belong to that class. Only files with the suffix of an image count, and no hidden ones.
      size: height and width, in pixels.
      channels: rgb or gray.
      white: the number that is white in images of more than 8 bits (such as 65535, 4095 or 1), for a folder that also
        has images of 8 bits; None leaves numbers as they are.
      background: the colour behind transparent pixels.

    Raises:
      Unfit: if splits or classes are unclear or lack images, or a file is no image that can be read.
    """
    root = files.named(path, WHAT)
    if not root.is_dir():
        raise Unfit("path", path, f"name {WHAT}: it is a file")
    try:
        found = folders.search(root, path)
    except OSError as error:
        raise Unfit("path", path, f"name {WHAT}: {error.filename} can't be read: {files.reason(error)}") from None
    classes = _classes(found, path)
    heads = _heads(found, path)
    depths = Counter(head.depth for head in heads)
    _check_depths(found, heads, depths, white)
    dtype = np.dtype(np.uint8 if depths.keys() == {pictures.BYTES} else np.float32)
    form = Form(size, MODES[channels], dtype, white, BACKGROUNDS[background])
    rows = {split: _rows(listing, form) for split, listing in found.files.items()}
    facts = {"files": _counts(found, heads), "depth": dict(depths), "white": white, "background": background}
    warnings = _warnings(found, facts, path)
    return Dataset("image", classes, rows["train"], rows.get("val"), rows.get("test"), facts=facts, warnings=warnings)


@dataclass(frozen=True)
class ImageFiles:
    """Image files as an array (n, size, size, channels), decoded when it is indexed.

    Args:
      files: their paths, an array (n,).
      form: the size, colours and type that they are decoded to.

    Raises:
      OSError: when it is indexed, if a file can't be decoded; the error names the file.
    """

    files: np.ndarray
    form: Form

    @property
    def dtype(self) -> np.dtype:
        return self.form.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.files), self.form.size, self.form.size, len(self.form.mode)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> np.ndarray:
        wanted = self.files[index]
        pixels = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for i, file in enumerate(wanted):
            pixels[i] = pictures.decode(file, self.form).reshape(self.shape[1:])
        return pixels


def _rows(listing: dict[str, list[str]], form: Form) -> Rows:
    paths = [file for of_class in listing.values() for file in of_class]
    y = np.repeat(np.arange(len(listing), dtype=np.int32), [len(of_class) for of_class in listing.values()])
    return Rows(ImageFiles(np.array(paths, object), form), y)  # pyright: ignore[reportArgumentType]


def _classes(found: Found, path: str | None) -> tuple[str, ...]:
    """The names of the classes; refuses splits that do not have images of each."""
    classes, train = tuple(found.files["train"]), found.folders["train"]
    if len(classes) < 2:
        has = f"only the class {classes[0]}" if classes else "no folder"
        below = f"; or name {train / classes[0]}" if classes and found.inner else ""
        raise Unfit("path", path, f"name {WHAT}, of two classes or more: {train} has {has}{below}")
    for split, listing in found.files.items():
        folder = found.folders[split]
        if not listing:
            alone = f"to cut it from training, name {train}"
            raise Unfit("path", path, f"hold a folder for each class in each split: {folder.name}/ has none; {alone}")
        for name in sorted(listing.keys() ^ set(classes)):
            one, other = (train, folder) if name in classes else (folder, train)
            has = f"{one.name}/ has {name}, {other.name}/ has not"
            raise Unfit("path", path, f"hold the same classes in each split: {has}")
        for name, images in listing.items():
            if not images:
                raise Unfit("path", path, f"hold images in each class folder: {folder / name} has none")
    return classes


def _heads(found: Found, path: str | None) -> list[Head]:
    """Reads the header of each file, which shows most files that are no images; decoding all would take minutes."""
    everything = _files(found)
    with ThreadPoolExecutor(8) as pool:
        heads = list(pool.map(pictures.head, everything))
    bad = [f"{file} {head}" for file, head in zip(everything, heads, strict=True) if isinstance(head, str)]
    if bad:
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise Unfit("path", path, f"hold images that can be read: {bad[0]}{more}")
    return [head for head in heads if isinstance(head, Head)]


def _files(found: Found) -> list[str]:
    return [file for listing in found.files.values() for images in listing.values() for file in images]


def _check_depths(found: Found, heads: list[Head], depths: Counter[str], white: float | None) -> None:
    """Refuses images of several depths if ``white`` is not given, and ``white`` if all images have 8 bits."""
    if white is not None and depths.keys() == {pictures.BYTES}:
        raise Unfit("white", white, "be null: all images are of 8 bits")
    if white is None and len(depths) > 1:
        examples = dict(zip((head.depth for head in heads), _files(found), strict=True))
        there = ", ".join(f"{n:,} of {depth} ({examples[depth]})" for depth, n in sorted(depths.items()))
        wanted = "be the number that is white in images of more than 8 bits, such as 65535, 4095 or 1"
        raise Unfit("white", None, f"{wanted}, as there are several depths: {there}")


def _counts(found: Found, heads: list[Head]) -> dict[str, Any]:
    """How many files were used and left out, and how many needed special treatment."""
    return {
        "taken": {split: sum(map(len, listing.values())) for split, listing in found.files.items()},
        "left_out": dict(found.left.most_common()),
        "in_inner_folders": found.inner,
        "several_frames": sum(head.frames for head in heads),
        "transparent": sum(head.alpha for head in heads),
    }


def _warnings(found: Found, facts: dict[str, Any], path: str | None) -> tuple[str, ...]:
    """Warnings about what was left out and about images that needed special treatment, a line each."""
    counts, below = facts["files"], facts["background"]
    taken, lines = sum(counts["taken"].values()), []
    if left := [f"{why} {n:,}" for why, n in counts["left_out"].items()]:
        more = [f"and {len(left) - SHOWN} other kinds"] if len(left) > SHOWN else []
        lines.append(f"{taken:,} images used; left out: {', '.join([*left[:SHOWN], *more])}")
    if n := counts["in_inner_folders"]:
        lines.append(f"{n:,} of {taken:,} images lie in subfolders of their class's folder, and belong to that class")
    if n := counts["several_frames"]:
        lines.append(f"{n:,} of {taken:,} images have several frames; the first is used")
    if n := counts["transparent"]:
        lines.append(f"{n:,} of {taken:,} images may be transparent, and are placed on data.background={below}")
    return *found.doubts, *(f"data.path={path}: {line}" for line in lines)
