"""Finds the files of published data sets on disk, or downloads and checks them.

They are looked for in ``data.folder`` or, without that, in ``$DLRUN_DATA/<set>`` and in ``datasets/<set>`` below the
user's and the system's data folders (XDG). A missing file is downloaded into the first of these: from
``$DLRUN_MIRROR/<set>`` if that is set, then from the data set's own addresses. A download has the suffix ``.part``
until all of it has come and its SHA-256 is right; one that breaks off is continued, at once or by the next command.
Files that are already there, packed or unpacked, are used without a checksum: reading them shows whether they are
sound.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from dlrun.data.readers.paced import USUAL, Pace
from dlrun.data.readers.transfer import Failed, File, amount, host, is_address, part_file
from dlrun.data.readers.transfer import download as transfer
from dlrun.errors import Unfit
from dlrun.system import user_folders


@dataclass(frozen=True)
class Source:
    """The files of a data set.

    Args:
      folder: the name of its folder below ``datasets``, ``$DLRUN_DATA`` and ``$DLRUN_MIRROR``.
      files: all its files.
      mirrors: addresses of folders that have all files, in the order to try.
      package: the name of Debian's package of it, if there is one.
    """

    folder: str
    files: tuple[File, ...]
    mirrors: tuple[str, ...]
    package: str | None = None


def find(source: Source, folder: str | None, *, download: bool, pace: Pace = USUAL) -> list[Path]:
    """The path of each file of a data set, in the order of ``source.files``; downloads what is missing.

    Args:
      folder: the only folder to look in and to write to; None means the usual ones (see the top of this file).
      download: whether anything may be downloaded.
      pace: how slow a server may be.

    Raises:
      Unfit: for the key ``folder``, if files are missing and may not be downloaded, or can't be.
    """
    places = _places(source, folder)
    for place in places:
        paths = [path for file in source.files if (path := file.within(place))]
        if len(paths) == len(source.files):
            return paths
    if not download:
        missing = min(([f for f in source.files if not f.within(place)] for place in places), key=len)
        install = f"apt install {source.package}, " if source.package else ""
        raise Unfit(
            "folder",
            folder,
            f"hold {_names(missing)}; looked in {', '.join(map(str, places))}; "
            f"get them by {install}data.download=true or by hand from {source.mirrors[0]}",
        )
    if folder is None and not os.environ.get("DLRUN_DATA") and user_folders.data() is None:
        raise Unfit("folder", None, f"name a folder to fetch {source.folder} into, as there is no home folder")
    target = places[0]
    return [file.within(target) or _fetch(source, file, target, folder, pace) for file in source.files]


def _places(source: Source, folder: str | None) -> list[Path]:
    """Folders to look in; downloads go into the first."""
    if folder is not None:
        place = Path(os.path.expanduser(folder))
        if not place.is_dir():  # a typing error should not become a folder full of data
            raise Unfit("folder", folder, "be a folder that exists")
        if not os.access(place, os.R_OK | os.X_OK):
            raise Unfit("folder", folder, "be a folder that can be read")
        return [place]
    home = user_folders.data()
    system = (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    places = [Path(d) / "datasets" / source.folder for d in (home, *system) if d]
    if own := os.environ.get("DLRUN_DATA"):
        places.insert(0, Path(os.path.expanduser(own)) / source.folder)
    return places


def _fetch(source: Source, file: File, folder: Path, given: str | None, pace: Pace) -> Path:
    """Downloads a file from the first mirror that has it whole and unchanged.

    Args:
      given: the value of the key ``folder``, for errors.
    """
    mirrors, final = list(source.mirrors), folder / file.name
    if own := os.environ.get("DLRUN_MIRROR"):
        if not is_address(own):
            raise Unfit(".DLRUN_MIRROR", own, "be an address that begins with http:// or https://")
        mirrors.insert(0, f"{own.rstrip('/')}/{source.folder}")
    failures = []
    try:
        with part_file(final) as part:
            for mirror in mirrors:
                if final.is_file():  # another process was quicker
                    return final
                try:
                    transfer(f"{mirror}/{file.name}", file, part, pace)
                except Failed as why:
                    failures.append(f"{host(mirror)}: {why}")
                    continue
                os.fsync(part.fileno())
                os.replace(part.name, final)
                return final
    except OSError as error:  # by the disk: errors of the network are Failed
        can = f"be a folder that {file.name} ({amount(file.size)}) can be written to"
        raise Unfit("folder", given, f"{can}; {folder}: {error.strerror or error}") from None
    missing = [f for f in source.files if not f.within(folder)]
    raise Unfit(
        "folder",
        given,
        f"hold {_names(missing)}; downloading failed ({'; '.join(failures)}); put them by hand into {folder}, "
        f"from {' '.join(f'{source.mirrors[0]}/{f.name}' for f in missing)}",
    )


def _names(files: list[File]) -> str:
    return ", ".join(file.name for file in files) + (" (unpacked will do)" if any(f.unpacked for f in files) else "")
