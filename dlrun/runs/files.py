"""Opens the files of run, sweep and search directories, which may come from anybody: nothing else in dlrun does.

Only regular files are opened. A link is never followed, so that nothing outside of a directory is read or written; a
pipe or a device is never waited for; and what is read at once has a bound. What is refused raises :class:`Refused`, an
``OSError`` like any other of a file. This is for directories that somebody made before, not against somebody who
changes one at the same moment.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

MOST = 2**26
"""Bytes of a file that is read as a whole, 64 MiB: run.json of a thousand classes takes a thousandth of that."""
YAML_BYTES, YAML_VALUES, YAML_DEPTH = 2**20, 100_000, 50
"""The most that a YAML file may have: bytes, values with aliases filled in, and sections within sections."""
LINK, ODD = "is a link, which is not followed", "is not a regular file"
PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Refused(OSError):
    """A file or folder is not opened: it is a link, no regular file, or too large."""

    def __init__(self, file: str | os.PathLike[str], why: str, number: int = errno.EINVAL):
        super().__init__(number, why, os.fspath(file))


def descriptor(file: str | os.PathLike[str], flags: int = os.O_RDONLY, *, below: Path | None = None) -> int:
    """Opens a regular file as ``os.open`` does; all other functions here call this one.

    Args:
      below: the directory that the file belongs to, if it lies in a folder of that: no folder on the way may be a link.

    Raises:
      Refused: for what is no regular file.
      OSError: as ``os.open``.
    """
    if below is not None:
        inside(file, below)
    try:
        handle = os.open(file, flags | PLAIN, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(file):
            raise Refused(file, LINK, errno.ELOOP) from None
        if error.errno in (errno.ENXIO, errno.EISDIR, errno.ENODEV):  # a pipe nobody reads, a socket; a folder
            raise Refused(file, ODD) from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Refused(file, ODD)
    return handle


def inside(file: str | os.PathLike[str], below: Path) -> None:
    """Raises :class:`Refused` if a folder between ``below`` and a file in it is a link."""
    for folder in Path(file).relative_to(below).parents:
        if folder.parts and (below / folder).is_symlink():
            raise Refused(below / folder, LINK, errno.ELOOP)


def reader(file: str | os.PathLike[str], *, below: Path | None = None) -> BinaryIO:
    """Opens a file to read its bytes piece by piece."""
    return os.fdopen(descriptor(file, below=below), "rb")


def read(file: str | os.PathLike[str], *, below: Path | None = None, most: int = MOST) -> bytes:
    """The bytes of a file; raises :class:`Refused` if these are more than ``most``."""
    with reader(file, below=below) as f:
        if os.fstat(f.fileno()).st_size > most:
            raise too_large(file, most)
        return f.read(most)


def too_large(file: str | os.PathLike[str], most: int) -> Refused:
    """The error for a file of more than ``most`` bytes."""
    return Refused(file, f"is larger than {most >> 20} MiB", errno.EFBIG)


def start(file: str | os.PathLike[str], most: int) -> bytes:
    """The first bytes of a file, at most ``most``."""
    with reader(file) as f:
        return f.read(most)


def end(file: str | os.PathLike[str], most: int) -> bytes:
    """The last bytes of a file, at most ``most``."""
    with reader(file) as f:
        f.seek(max(0, os.fstat(f.fileno()).st_size - most))
        return f.read(most)


def appender(file: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file to add to its end, unbuffered; it is made where there is none.

    A file that has another name elsewhere (a hard link) is replaced by a copy first: the other one stays as it is.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    handle = descriptor(file, flags)
    if os.fstat(handle).st_nlink > 1:
        os.close(handle)
        replace(file, [read(file)])
        handle = descriptor(file, flags)
    return os.fdopen(handle, "ab", buffering=0)


def replace(
    file: str | os.PathLike[str], data: Iterable[bytes], *, below: Path | None = None, durable: bool = True
) -> None:
    """Replaces a file so that a reader finds either all of the old bytes or all of the new ones, whatever happens.

    Args:
      data: in any number of pieces.
      below: as of :func:`descriptor`; folders between it and the file are made.
      durable: whether to wait until the bytes are on the disk.

    Raises:
      Refused: if something else than a regular file has the name.
    """
    file = Path(file)
    if below is not None:
        inside(file, below)
        if file.parent != below:
            file.parent.mkdir(parents=True, exist_ok=True)
    if (there := kind(file)) not in (None, "file"):
        raise Refused(file, LINK if there == "link" else ODD)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.unlink(missing_ok=True)  # left by an earlier process of this number
    try:
        with os.fdopen(descriptor(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as f:
            f.writelines(data)
            f.flush()
            if durable:
                os.fsync(f.fileno())
        os.replace(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync(path: str | os.PathLike[str]) -> None:
    """Waits until a file's bytes, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(file: str | os.PathLike[str]) -> None:
    """Deletes a regular file, if it is one."""
    if kind(file) == "file":
        os.unlink(file)


def remove_folder(folder: str | os.PathLike[str]) -> None:
    """Deletes a folder, if it is one and no link, with all that can be deleted of it; links in it are not followed."""
    if kind(folder) == "folder":
        shutil.rmtree(folder, ignore_errors=True)


def empty(file: str | os.PathLike[str]) -> None:
    """Cuts a regular file to no bytes, if it is one; one that has another name elsewhere stays as it is."""
    if kind(file) == "file":
        with os.fdopen(descriptor(file, os.O_RDWR), "r+b") as f:
            if os.fstat(f.fileno()).st_nlink == 1:
                f.truncate(0)


def kind(path: str | os.PathLike[str]) -> str | None:
    """``file``, ``folder``, or what else is at a path: ``link``, ``other``; None where nothing is."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "folder"), (stat.S_ISLNK, "link"))
    return next((name for matches, name in kinds if matches(mode)), "other")


def from_yaml(text: bytes) -> Any:
    """Plain values in YAML.

    Raises:
      ValueError: where it is no YAML, or breaks the bounds of :func:`yaml_texts`.
    """
    import yaml  # slow to import, and rarely needed

    yaml_texts(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def yaml_texts(text: bytes) -> list[str]:
    """All keys and scalar values in YAML, as written, after its size was checked without building what it stands for.

    An alias counts as all that it stands for: a kilobyte of aliases of aliases would become gigabytes.

    Raises:
      ValueError: where it is no YAML, is larger than ``YAML_BYTES``, has more than ``YAML_VALUES`` values, is deeper
        than ``YAML_DEPTH``, or has an alias of what it is in.
    """
    import yaml

    if len(text) > YAML_BYTES:
        raise ValueError(f"it has more than {YAML_BYTES:,} bytes")
    texts: list[str] = []
    sizes: dict[str, int] = {}  # of what an anchor stands for
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and how many values there were before it
    total = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                if event.anchor not in sizes:
                    raise ValueError(f"its alias *{event.anchor} stands for nothing that is complete")
                total += sizes[event.anchor]
            elif isinstance(event, yaml.ScalarEvent):
                texts.append(event.value)
                total += 1
                if event.anchor:
                    sizes[event.anchor] = 1
            elif isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, total))
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = open_nodes.pop()
                total += 1
                if anchor:
                    sizes[anchor] = total - before
            if total > YAML_VALUES:
                raise ValueError(f"it has more than {YAML_VALUES:,} values")
            if len(open_nodes) > YAML_DEPTH:
                raise ValueError(f"it has more than {YAML_DEPTH} nested sections")
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    return texts
