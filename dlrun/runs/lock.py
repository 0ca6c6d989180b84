"""The lock of a run directory: only one process at a time works in it."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import InvalidConfig
from dlrun.runs import files
from dlrun.runs.rundir import LOCK

LONGEST = 200  # bytes of what the file says


class Gone(Exception):
    """The directory that this process works in is no longer where it was."""

    def __init__(self, directory: Path):
        super().__init__(
            f"{directory} is no longer there: it was moved or deleted meanwhile, so nothing more is written"
        )


@dataclass(frozen=True)
class Lock:
    """A directory's lock, which this process holds.

    Args:
      handle: the open file.
    """

    directory: Path
    handle: int

    @property
    def is_there(self) -> bool:
        """Whether the directory's path still leads to the lock; takes a few microseconds."""
        try:
            there = os.stat(self.directory / LOCK)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # a network that does not answer says nothing
            return True
        return os.path.samestat(there, os.fstat(self.handle))

    def require(self) -> None:
        """Raises :class:`Gone` where the directory was moved or deleted: by its path, one would write elsewhere."""
        if not self.is_there:
            raise Gone(self.directory)


@contextmanager
def locked(directory: Path) -> Iterator[Lock]:
    """Locks the directory for this process; raises :class:`InUse` if another process has locked it.

    The system releases the lock when the process ends, however it ends, so no stale lock can remain. Raises
    :class:`InvalidConfig` if the directory can't be written to.
    """
    try:
        handle = files.descriptor(directory / LOCK, os.O_RDWR | os.O_CREAT)
    except files.Refused as error:
        raise InvalidConfig([f"{directory / LOCK}: {error.strerror}"]) from None
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise InvalidConfig([f"{directory}: can't be written to: {error.strerror}"]) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(handle, LONGEST).decode(errors="replace").strip()
            raise InUse([f"{directory}: in use by another dlrun ({owner or 'unknown process'})"]) from None
        info, before = os.fstat(handle), os.pread(handle, LONGEST, 0)
        ours = info.st_size <= LONGEST and info.st_nlink == 1  # else it may be a file of another use
        if ours:
            _rewrite(handle, f"process {os.getpid()} on {os.uname().nodename}".encode())
        try:
            yield Lock(directory, handle)
        finally:  # gives the file the text that it had before
            with suppress(OSError):
                if ours:
                    _rewrite(handle, before)
    finally:
        os.close(handle)


def _rewrite(handle: int, text: bytes) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, text, 0)


def in_use(directory: Path) -> bool:
    """Whether a process works in the directory. Writes nothing: the directory may be somebody else's."""
    try:
        handle = files.descriptor(directory / LOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # a shared lock: two readers don't take each other for a run
        return False
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)


class InUse(InvalidConfig):
    """Another process works in the run directory."""
