"""Which states lie in a run's ``checkpoints/``, and which of them are sound. Needs no JAX.

A state is sound if its manifest, a list of SHA-256 sums, matches its files byte for byte. Others do not count.
"""

import contextlib
import hashlib
import json
from pathlib import Path

STATE = "state.safetensors"
LOOP = "loop"
"""Key in the metadata of STATE: plain values that were saved with the arrays, as JSON."""
LONGEST = 10**8  # bytes that the header of a safetensors file may have
MANIFEST = "manifest.sha256"
PART = ".saving-"
"""The name of a step's folder begins with this while it is written."""
ASIDE = ".unsound-"
"""The name of a step's folder begins with this once it no longer counts: damaged, or about to be deleted."""


def steps(directory: Path) -> list[int]:
    """The steps that have a folder, sound or not, in ascending order."""
    with contextlib.suppress(OSError):
        return sorted(int(p.name) for p in directory.iterdir() if p.name.isdecimal() and p.is_dir())
    return []


def sound(directory: Path) -> list[int]:
    """The steps that are sound, in ascending order."""
    return [step for step in steps(directory) if verify(directory / str(step))]


def last_sound(directory: Path) -> int | None:
    """The last step that is sound; None if none is."""
    return next((step for step in reversed(steps(directory)) if verify(directory / str(step))), None)


def verify(folder: Path) -> bool:
    """Whether a step's folder holds exactly the files of its manifest, byte for byte."""
    try:
        return (folder / MANIFEST).read_bytes() == manifest(folder).encode()
    except OSError:
        return False


def manifest(folder: Path) -> str:
    """The text of a manifest: SHA-256 sum and name of every file in a folder, sorted, as ``sha256sum`` prints them."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return "".join(f"{_sha256(folder / f)}  {f}\n" for f in files if not f.endswith(MANIFEST))


def best(folder: Path) -> int | None:
    """Which step was best when this one was saved; None before the first evaluation. Raises ValueError if unsound."""
    try:
        with (folder / STATE).open("rb") as file:  # begins with the length of its header, which is JSON
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), LONGEST)))
        step = json.loads(header["__metadata__"][LOOP])["best_step"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder / STATE}: {error}") from None
    return step if isinstance(step, int) else None


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
