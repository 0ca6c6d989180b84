"""Which states lie in a run's ``checkpoints/``, and which of them are sound. Needs no JAX.

A state is sound if its manifest, a list of SHA-256 sums, matches its files byte for byte. Others do not count.
"""

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

from dlrun.runs import atomic, files

STATE = "state.safetensors"
LOOP = "loop"
"""Key in the metadata of STATE: plain values that were saved with the arrays, as JSON."""
LONGEST = 10**8  # bytes that the header of a safetensors file may have
MANIFEST = "manifest.sha256"
FOREIGN = "holds other files, and no state"
PART = ".saving-"
"""The name of a step's folder begins with this while it is written."""
ASIDE = ".unsound-"
"""The name of a step's folder begins with this once it no longer counts: damaged, or about to be deleted."""


def steps(directory: Path) -> list[int]:
    """The steps that have a folder, sound or not, in ascending order; none where ``directory`` is a link."""
    with contextlib.suppress(OSError):
        return sorted(int(name) for name in _folders(directory) if is_step(name))
    return []


def is_step(name: str) -> bool:
    """Whether a folder's name is that of a step, as we write it."""
    return name.isascii() and name.isdecimal() and name == str(int(name)) and len(name) < 16


def is_ours(folder: Path) -> bool:
    """Whether a folder was made for a state: by its name, or it has a manifest, or nothing else than a state.

    No other is ever renamed or deleted.
    """
    if folder.name.startswith((ASIDE, PART)):
        return True
    try:
        kinds = {name: files.kind(folder / name) for name in os.listdir(folder)}
    except OSError:
        return False
    return kinds.get(MANIFEST) == "file" or all(name == STATE and kind == "file" for name, kind in kinds.items())


def _folders(directory: Path) -> list[str]:
    """The names of the folders in a folder; links are left out."""
    if files.kind(directory) != "folder":
        return []
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def others(directory: Path) -> list[str]:
    """Names of the folders of states that were set aside or never completely written."""
    return sorted(name for name in _folders(directory) if name.startswith((ASIDE, PART)))


def retire(directory: Path, name: str) -> Path:
    """Renames the folder of a state to ``.unsound-<step>``, so that it no longer counts; returns its path then.

    Raises OSError where that is not possible, or the folder is not one of ours.
    """
    if not is_ours(directory / name):
        raise files.Refused(directory / name, FOREIGN)
    aside = directory / f"{ASIDE}{name}"
    discard(aside)
    os.rename(directory / name, aside)
    return aside


def discard(folder: Path) -> None:
    """Deletes the folder of a state, if it is one of ours and no link; raises OSError if something can't be deleted."""
    if files.kind(folder) == "folder" and is_ours(folder):
        shutil.rmtree(folder)


def sound(directory: Path) -> list[int]:
    """The steps that are sound, in ascending order."""
    return [step for step in steps(directory) if verify(directory / str(step))]


def last_sound(directory: Path) -> int | None:
    """The last step that is sound; None if none is."""
    return next((step for step in reversed(steps(directory)) if verify(directory / str(step))), None)


def verify(folder: Path) -> bool:
    """Whether a step's folder holds exactly the files of its manifest, byte for byte."""
    try:
        return files.read(folder / MANIFEST) == manifest(folder).encode()
    except OSError:
        return False


def manifest(folder: Path) -> str:
    """The text of a manifest: SHA-256 sum and name of every file in a folder, sorted, as ``sha256sum`` prints them.

    Raises OSError for what is no regular file, such as a link.
    """
    names = sorted(
        os.path.relpath(os.path.join(place, name), folder) for place, _, here in os.walk(folder) for name in here
    )
    return "".join(f"{_sha256(folder / name)}  {name}\n" for name in names if not name.endswith(MANIFEST))


def identity(folder: Path) -> str | None:
    """SHA-256 of a state's manifest, which no other state has; None where it can't be read."""
    try:
        return hashlib.sha256(files.read(folder / MANIFEST)).hexdigest()
    except OSError:
        return None


def best(folder: Path) -> int | None:
    """Which step was best when this one was saved; None before the first evaluation. Raises ValueError if unsound."""
    try:
        with files.reader(folder / STATE) as file:  # begins with the length of its header, which is JSON
            header = atomic.parsed(file.read(min(int.from_bytes(file.read(8), "little"), LONGEST)))
        step = json.loads(header["__metadata__"][LOOP])["best_step"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder / STATE}: {error}") from None
    return step if isinstance(step, int) else None


def _sha256(file: Path) -> str:
    sha = hashlib.sha256()
    with files.reader(file) as opened:
        while piece := opened.read(1 << 20):
            sha.update(piece)
    return sha.hexdigest()
