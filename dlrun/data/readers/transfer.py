"""Downloads a file from a server: locks it, resumes it, tries again, and shows progress."""

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request

from dlrun import __version__
from dlrun.data.readers import paced
from dlrun.data.readers.paced import Pace
from dlrun.display.terminal import can_move
from dlrun.errors import tell

TRIES = 5
"""The most requests for a file to one mirror, as long as each brings some bytes before the connection breaks off."""


@dataclass(frozen=True)
class File:
    """A file as it is published.

    Args:
      name: its name, at every mirror and on disk.
      size: in bytes.
      sha256: of its content, in hexadecimal.
      unpacked: paths, relative to its folder, of its unpacked content; the first that is there is used in its place.
    """

    name: str
    size: int
    sha256: str
    unpacked: tuple[str, ...] = ()

    def within(self, folder: Path) -> Path | None:
        """The path of the file, or of its unpacked content, in a folder; None if it is not there."""
        return next((folder / n for n in (*self.unpacked, self.name) if os.path.isfile(folder / n)), None)


class Failed(Exception):
    """Raised if a mirror does not give a file; the message says why in a few words."""


@contextmanager
def part_file(final: Path) -> Iterator[FileIO]:
    """Opens the file that a download is written to, ``<final>.part``, at its end, and locks out other processes.

    Afterwards the file is removed if it is empty, and so are folders that were made for it.
    """
    path = final.with_name(f"{final.name}.part")
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path) as part:
            try:
                yield part
            finally:
                if _size(part) == 0:
                    path.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def _locked(path: Path) -> FileIO:
    """Opens a file for appending, once no other process has locked it."""
    while True:
        file = open(path, "a+b", buffering=0)  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"waiting for another process that downloads {path.stem}")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # no locks on this file system: if two processes write at once, the checksum tells
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()  # the other process has renamed or removed it


def download(url: str, file: File, part: FileIO, pace: Pace) -> None:
    """Downloads what ``part`` lacks of a file, and checks it. Where it raises :class:`Failed`, good bytes stay."""
    inherited, why = _size(part) > 0, ""
    for _ in range(TRIES):
        before = _size(part)
        try:
            _receive(url, file, part, pace)
        except Failed as failed:
            why = str(failed)
            if _size(part) <= before:
                break
            continue  # the connection broke off: ask for the rest
        part.seek(0)
        if hashlib.file_digest(part, "sha256").hexdigest() == file.sha256:  # pyright: ignore[reportArgumentType]
            return
        part.truncate(0)
        why = "wrong checksum"
        if not inherited:
            break
        inherited = False  # bytes from an earlier command may be wrong: try again from the beginning
    raise Failed(why)


def _receive(url: str, file: File, part: FileIO, pace: Pace) -> None:
    """Appends the missing bytes; starts over if the server can't send these alone. Raises :class:`Failed`."""
    have = _size(part)
    if have == file.size:
        return
    if have > file.size:
        part.truncate(have := 0)
    with _answer(url, have, pace) as response:
        if response.status != 206:
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise Failed("sent a different part from the one asked for")
        if response.length is not None and have + response.length != file.size:
            raise Failed(f"has {have + response.length} bytes instead of {file.size}")
        part.truncate(have)
        with _shown(file, have, url) as advance:
            while have < file.size:
                block = _read(response, file.size - have, pace)
                if not block:
                    raise Failed(f"broke off after {have} of {file.size} bytes")
                have += len(block)
                advance(len(block))
                while block:
                    block = block[part.write(block) :]


def _answer(url: str, have: int, pace: Pace) -> Any:
    """A server's answer to the request for a file, from byte ``have`` on."""
    headers = {"User-Agent": f"dlrun/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        return paced.opener(pace).open(Request(url, headers=headers), timeout=pace.timeout)
    except HTTPError as error:
        error.close()
        if have and error.code == 416:  # no such part
            return _answer(url, 0, pace)
        raise Failed(f"HTTP {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:  # ValueError: the text is no address
        raise Failed(_reason(error, pace)) from None


def _read(response: Any, most: int, pace: Pace) -> bytes:
    """The next bytes of an answer; empty at its end."""
    try:
        return response.read1(min(most, 2**18))
    except (OSError, HTTPException) as error:
        raise Failed(_reason(error, pace)) from None


def _reason(error: Exception, pace: Pace) -> str:
    """What went wrong, in a few words."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, paced.TooSlow):
        return str(cause)
    if isinstance(cause, TimeoutError):
        return f"silent for {pace.timeout:g} s"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(text.split())


def _size(part: FileIO) -> int:
    return part.seek(0, os.SEEK_END)


def is_address(text: str) -> bool:
    """Whether a text is an address of HTTP or HTTPS with a host."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def host(url: str) -> str:
    """An address's host and port, without a user's name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def amount(size: int) -> str:
    """``11 MiB``, ``29 KiB``."""
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 else f"{-(-size // 2**10)} KiB"


@contextmanager
def _shown(file: File, have: int, url: str) -> Iterator[Any]:
    """Shows a download: a line on stderr, and on a terminal a progress bar below it while the download lasts.

    Yields a function to call with the number of bytes each time that some have come.
    """
    begun = f", from {amount(have)} on" if have else ""
    tell(f"downloading {file.name} ({amount(file.size)}{begun}) from {host(url)}")
    if not can_move(sys.stderr):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=file.size, completed=have)
        yield lambda count: bar.advance(task, count)
