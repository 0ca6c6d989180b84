"""Which states lie in a run's ``checkpoints/``, and which of them are sound. Needs no JAX.

A step without a manifest that matches its files to the letter does not exist.
"""

import contextlib
import hashlib
import json
from pathlib import Path

STATE = "state.safetensors"
LOOP = "loop"
"""In the metadata of STATE: plain values that go with the arrays, as JSON."""
LONGEST = 10**8  # bytes of a header of safetensors
MANIFEST = "manifest.sha256"
PART = ".saving-"
"""Begins the name of a step's folder until it is complete."""
ASIDE = ".unsound-"
"""Begins the name of a step's folder that no longer counts: one that was damaged, or is about to be deleted."""


def steps(directory: Path) -> list[int]:
    """Steps that have a folder, in order, sound or not."""
    with contextlib.suppress(OSError):
        return sorted(int(p.name) for p in directory.iterdir() if p.name.isdecimal() and p.is_dir())
    return []


def sound(directory: Path) -> list[int]:
    """Steps whose manifest matches their files, in order."""
    return [step for step in steps(directory) if verify(directory / str(step))]


def last_sound(directory: Path) -> int | None:
    """The last step whose manifest matches its files; None where there is none."""
    return next((step for step in reversed(steps(directory)) if verify(directory / str(step))), None)


def verify(folder: Path) -> bool:
    """Whether the files of a step are exactly those of its manifest, bit for bit."""
    try:
        return (folder / MANIFEST).read_bytes() == manifest(folder).encode()
    except OSError:
        return False


def manifest(folder: Path) -> str:
    """SHA-256 sum and name of every file below a folder, sorted, in the format of ``sha256sum``."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return "".join(f"{_sha256(folder / f)}  {f}\n" for f in files if not f.endswith(MANIFEST))


def best(folder: Path) -> int | None:
    """The step that was best when a step was saved; None before the first evaluation. Raises ValueError if unknown."""
    try:
        with (folder / STATE).open("rb") as file:  # begins with the length of its header, which is JSON
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), LONGEST)))
        found = json.loads(header["__metadata__"][LOOP])["best_step"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder / STATE}: {error}") from None
    return found if isinstance(found, int) else None


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
