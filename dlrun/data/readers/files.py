"""Finds, identifies and reports on files and folders that a user names."""

import hashlib
import os
from pathlib import Path

from dlrun.errors import Unfit, nearest


def named(path: str | None, what: str, key: str = "path") -> Path:
    """The file or folder that a key names; raises :class:`Unfit` if there is none that can be read.

    Args:
      path: the key's value.
      what: what the key must name, for errors, such as ``a CSV file``.
      key: for errors.
    """
    if path is None:
        raise Unfit(key, path, f"name {what}")
    place = Path(os.path.expanduser(path))  # unlike Path.expanduser, no error for an unknown user
    if not os.path.exists(place):
        folder = place.parent
        beside = os.listdir(folder) if os.access(folder, os.R_OK | os.X_OK) and folder.is_dir() else []
        there = "it does not exist" if folder.is_dir() else f"there is no folder {folder}"
        if place.is_symlink():
            there, beside = f"it is a link to {os.readlink(place)}, which does not exist", []
        raise Unfit(key, path, f"name {what}: {there}{nearest(place.name, beside)}")
    if not place.is_dir() and not place.is_file():  # a device or a pipe may never end
        raise Unfit(key, path, f"name {what}: it is neither a file nor a folder")
    if place.is_dir() and not os.access(place, os.R_OK | os.X_OK):  # else it would seem to be empty
        raise Unfit(key, path, f"name {what}: it can't be read: Permission denied")
    return place


def sha256(place: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(place, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(error: Exception) -> str:
    """Why reading failed, on one line that is not too long."""
    text = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
    return text if len(text) <= 150 else text[:149] + "…"
