"""A user's own folder of images."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dlrun.data import files
from dlrun.data.dataset import Dataset, Rows
from dlrun.schema import Count, Unfit
from dlrun.settings import Text

WHAT = "a folder with a folder of images for each class, or with train/ and perhaps val/ and test/ that have those"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
MODES = {"rgb": "RGB", "gray": "L"}
Channels = Literal["rgb", "gray"]
Listing = dict[str, list[str]]
"""File names by class."""


def images(*, path: Text | None = None, size: Count = 64, channels: Channels = "rgb") -> Dataset:
    """Images in a folder for each class, decoded anew each time they are asked for.

    An image is turned as its camera says, shrunk or enlarged to ``size`` along its shorter side (bilinear), and cut to
    the middle of the longer; grey, palette and CMYK images are converted, transparency is dropped.

    Args:
      path: the folder; the splits that are not in it are cut from training. Only files whose names end like an image's
        count, and hidden ones do not.
      size: height and width, in pixels.
      channels: rgb or gray.
    """
    root = files.named(path, WHAT)
    if not root.is_dir():
        raise Unfit("path", path, f"name {WHAT}: it is a file")
    try:
        folders = _splits(root)
        listings = {split: _listing(folder) for split, folder in folders.items()}
    except OSError as error:
        raise Unfit("path", path, f"name {WHAT}: {error.filename} can't be read: {files.reason(error)}") from None
    classes = tuple(listings["train"])
    if len(classes) < 2:
        has = f"only the class {classes[0]}" if classes else "no folder"
        raise Unfit("path", path, f"name {WHAT}, of two classes or more: {folders['train']} has {has}")
    for split, listing in listings.items():
        for name in sorted(listing.keys() ^ set(classes)):
            one, other = ("train", split) if name in classes else (split, "train")
            raise Unfit("path", path, f"hold the same classes in each split: {one}/ has {name}, {other}/ has not")
        for name, found in listing.items():
            if not found:
                raise Unfit("path", path, f"hold images in each class folder: {folders[split] / name} has none")
    rows = {split: _rows(folders[split], listing, size, MODES[channels]) for split, listing in listings.items()}
    _check(rows, path)
    return Dataset("image", classes, rows["train"], rows.get("val"), rows.get("test"))


@dataclass(frozen=True)
class ImageFiles:
    """Images as an array (n, size, size, channels) of bytes that is decoded where it is indexed.

    Args:
      files: their paths, an array (n,).
      size: height and width, in pixels.
      mode: Pillow's, ``RGB`` or ``L``.

    Raises:
      OSError: when one that is asked for can't be decoded; the error names it.
    """

    files: np.ndarray
    size: int
    mode: str

    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.files), self.size, self.size, len(self.mode)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> np.ndarray:
        wanted = self.files[index]
        found = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for i, file in enumerate(wanted):
            found[i] = decode(file, self.size, self.mode).reshape(self.shape[1:])
        return found


def decode(file: str, size: int, mode: str) -> np.ndarray:
    """The middle square of an image as bytes, (size, size) or (size, size, 3). Raises ``OSError`` with the file."""
    try:
        with Image.open(file) as image:
            image.draft(mode, (2 * size, 2 * size))  # a JPEG much larger than that is decoded smaller, and faster
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits, of which Pillow would clip
                image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
            return np.asarray(ImageOps.fit(image.convert(mode), (size, size), Image.Resampling.BILINEAR))
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise OSError(errno.EIO, f"an image can't be decoded ({files.reason(error)})", file) from None


def _splits(root: Path) -> dict[str, Path]:
    """The folder of each split that is there; a class may be called train, and then holds no folders."""
    if not _folders(root / "train"):
        return {"train": root}
    return {split: root / split for split in ("train", "val", "test") if (root / split).is_dir()}


def _listing(folder: Path) -> Listing:
    return {
        name: sorted(
            entry.name
            for entry in os.scandir(folder / name)
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file()
        )
        for name in _folders(folder)
    }


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _rows(folder: Path, listing: Listing, size: int, mode: str) -> Rows:
    paths = [os.path.join(folder, name, file) for name, found in listing.items() for file in found]
    y = np.repeat(np.arange(len(listing), dtype=np.int32), [len(found) for found in listing.values()])
    return Rows(ImageFiles(np.array(paths, object), size, mode), y)  # pyright: ignore[reportArgumentType]


def _check(rows: dict[str, Rows], path: str | None) -> None:
    """Reads the head of each file, which tells most of what is no image; decoding all would take minutes."""
    everything = np.concatenate([part.x.files for part in rows.values()])  # pyright: ignore[reportAttributeAccessIssue]
    with ThreadPoolExecutor(8) as pool:
        found = [(file, why) for file, why in zip(everything, pool.map(_trouble, everything), strict=True) if why]
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise Unfit("path", path, f"hold images that can be read: {found[0][0]} {found[0][1]}{more}")


def _trouble(file: str) -> str | None:
    try:
        with open(file, "rb") as raw, Image.open(raw) as image:
            return "has floating-point pixels" if image.mode == "F" else None
    except UnidentifiedImageError:
        return "is no image" if os.path.getsize(file) else "is empty"
    except (OSError, Image.DecompressionBombError) as error:
        return f"can't: {files.reason(error)}"
