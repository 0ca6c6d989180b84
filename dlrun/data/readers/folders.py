"""Searches a folder for images: its splits, classes and files, and what is left out."""

import errno
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dlrun.data.readers.pictures import suffixes
from dlrun.errors import Unfit

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing"),
}
SPLIT = {name: split for split, names in SPLITS.items() for name in names}
ALIKE = {*SPLIT, "holdout", "evaluation"}
FILLERS = {"", "set", "data", "dataset", "images", "image", "imgs", "img", "pictures", "pics", "folder", "split"}
CLUTTER = {"__macosx", "@eadir"}
"""Folders that operating systems put among a user's files; like names with a dot in front, they are left out."""


@dataclass
class Found:
    """What a search of a folder found.

    Args:
      folders: the folder of each split.
      files: paths of images, by split and class.
      left: how many files and folders were left out, by reason.
      inner: how many images are in folders inside the folder of their class.
      doubts: warnings, a line each.
    """

    folders: dict[str, Path] = field(default_factory=dict)
    files: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)
    inner: int = 0
    doubts: list[str] = field(default_factory=list)


def search(root: Path, path: str | None) -> Found:
    """Finds all images below a folder, by split and class.

    Args:
      root: the folder.
      path: the value of the key ``path``, for errors.

    Raises:
      Unfit: if it is not clear which folders are splits and which are classes.
      OSError: for a folder that can't be read.
    """
    found = Found()
    names = _strays(root, found.left)
    found.folders = _splits(root, names, path, found.left)
    for split, folder in found.folders.items():
        classes = names if folder == root else _strays(folder, found.left)
        _check_classes(folder, classes, path, found.doubts)
        lists = {name: _images(folder / name, found.left) for name in classes}
        found.inner += sum(os.sep in file for files in lists.values() for file in files)
        found.files[split] = {c: [os.path.join(folder, c, file) for file in files] for c, files in lists.items()}
    return found


def _splits(root: Path, names: list[str], path: str | None, left: Counter[str]) -> dict[str, Path]:
    """The folder of each split. A ``train`` without folders in it is a class; then all images are training rows."""
    named = {split: [name for name in names if SPLIT.get(name.lower()) == split] for split in SPLITS}
    if not any(_folders(root / name) for name in named["train"]):
        _check_no_splits(root, names, path)
        return {"train": root}
    for split, several in named.items():
        if len(several) > 1:
            raise Unfit("path", path, f"hold one folder per split: {_listed(several)} are both {split}")
    splits = {split: name for split, (name, *_) in ((s, n) for s, n in named.items() if n)}
    classes = _folders(root / splits["train"])
    for name in names:
        if name in splits.values() or not (images := len(_images(root / name, Counter()))):
            continue
        inner = _folders(root / name)
        if _alike(name) or (inner and set(inner) <= set(classes)):
            free = " or ".join(f"{split}/" for split in sorted(SPLITS.keys() - splits.keys()))
            call = f"call it {free}" if free else "move it away"
            raise Unfit("path", path, f"hold splits by their names: {name}/ looks like one; {call}, if only by a link")
        if len(splits) == 1:
            train = root / splits["train"]
            why = f"{train.name}/ holds folders, as a split does, and {name}/ beside it images, as a class does"
            raise Unfit("path", path, f"hold splits or classes: {why}; for the first alone, name {train}")
        left["images in folders beside the splits"] += images
    return {split: root / name for split, name in splits.items()}


def _check_no_splits(root: Path, names: list[str], path: str | None) -> None:
    """Refuses folders that look like splits if none of them is a training split."""
    likely = [name for name in names if _alike(name)]
    if not (likely and len(likely) == len(names)):
        likely = [name for name in likely if _folders(root / name)]
    if likely:
        empty = [name for name in likely if SPLIT.get(name.lower()) == "train"]
        why = f"{empty[0]}/ holds none" if empty else f"there is none, but {_listed(likely)}"
        raise Unfit("path", path, f"hold train/, with a folder for each class in it, where it has splits: {why}")


def _check_classes(folder: Path, names: list[str], path: str | None, doubts: list[str]) -> None:
    """Refuses splits inside the folders of classes; warns if all classes hold folders of the same names."""
    inner = {name: _folders(folder / name) for name in names}
    for name, within in inner.items():
        if len({SPLIT.get(w.lower()) for w in within} - {None}) > 1 and all(map(_alike, within)):
            into = _listed(f"{w}/{name}" for w in within)
            raise Unfit("path", path, f"hold splits above classes: {folder / name} holds splits; make it {into}")
    same = set(map(tuple, inner.values()))
    if len(names) > 1 and len(same) == 1 and len(next(iter(same))) > 1:
        shared = _listed(next(iter(same)))
        doubts.append(f"data.path={path}: the classes are {_listed(names)}, though each of them holds {shared}")


def _alike(name: str) -> bool:
    """Whether a name says that a folder is a split: ``Train``, ``test2``, ``val_images``, ``trainset``."""
    words = [word.removesuffix("set") for word in re.split(r"[\W_\d]+", name.lower())]
    return len(rest := [word for word in words if word not in FILLERS]) == 1 and rest[0] in ALIKE


def _listed(names: Iterable[str]) -> str:
    *most, last = (f"{name}/" for name in sorted(names))
    return f"{', '.join(most)} and {last}" if most else last


def _images(folder: Path, left: Counter[str]) -> list[str]:
    """Paths of the images at any depth below a folder, sorted. A folder that links lead to again is read only once."""
    images, todo, seen = [], [""], {_identity(folder)}
    while todo:
        inner = todo.pop()
        for entry in _entries(folder / inner):
            name, kind = os.path.join(inner, entry.name), _kind(entry)
            if kind == "image":
                images.append(name)
            elif kind != "folder":
                left[kind] += 1
            elif (which := _identity(folder / name)) in seen:
                left["folders seen before"] += 1
            else:
                seen.add(which)
                todo.append(name)
    return sorted(images)


def _strays(folder: Path, left: Counter[str]) -> list[str]:
    """Names of the folders in a folder; files in it are counted as left out."""
    kinds = {entry.name: _kind(entry) for entry in _entries(folder)}
    reasons = {"image": "images outside the class folders"}
    left.update(reasons.get(kind, kind) for kind in kinds.values() if kind != "folder")
    return [name for name, kind in kinds.items() if kind == "folder"]


def _folders(folder: Path) -> list[str]:
    return _strays(folder, Counter())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _kind(entry: os.DirEntry[str]) -> str:
    """``folder``, ``image``, or the reason why an entry is left out."""
    name = entry.name.lower()
    if name.startswith(".") or name in CLUTTER:
        return "hidden"
    try:
        if entry.is_dir():
            return "folder"
        if not entry.is_file():
            return "broken links" if entry.is_symlink() else "neither files nor folders"
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return "broken links"
    suffix = os.path.splitext(name)[1]
    return "image" if suffix in suffixes() else suffix or "without a suffix"


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
