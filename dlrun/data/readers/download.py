"""Files of published data sets: found where they lie, else fetched, checked and kept.

They are looked for in ``data.folder`` or, without that, in ``$DLRUN_DATA/<set>`` and in ``datasets/<set>`` below the
user's and the system's data folders (XDG). What lies in none is fetched into the first of these: from
``$DLRUN_MIRROR/<set>`` if that is set, then from the data set's own addresses. A download has the suffix ``.part``
until its SHA-256 is right; one that breaks off is gone on with, now or by the next command. What a user has put there
counts as it is, unpacked too: reading it shows whether it is sound.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from dlrun.data.readers.transfer import Failed, File, amount, host, is_address, partial
from dlrun.data.readers.transfer import download as transfer
from dlrun.errors import Unfit
from dlrun.system import user_folders


@dataclass(frozen=True)
class Source:
    """The files of a data set.

    Args:
      folder: its folder's name: below ``datasets``, ``$DLRUN_DATA`` and ``$DLRUN_MIRROR``.
      mirrors: addresses of folders that hold all files, in the order to try.
      package: Debian's package of it.
    """

    folder: str
    files: tuple[File, ...]
    mirrors: tuple[str, ...]
    package: str | None = None


def find(source: Source, folder: str | None, *, download: bool) -> list[Path]:
    """Where each file of a data set lies, in their order; fetches what is missing.

    Args:
      folder: the only place to look in and to write to; None is the usual ones.
      download: whether anything may be fetched.

    Raises:
      Unfit: for the key ``folder``, when files are missing and are not or can't be fetched.
    """
    places = _places(source, folder)
    for place in places:
        found = [path for file in source.files if (path := file.within(place))]
        if len(found) == len(source.files):
            return found
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
    target, found = places[0], []
    for file in source.files:
        found.append(file.within(target) or _fetch(source, file, target, folder))
    return found


def _places(source: Source, folder: str | None) -> list[Path]:
    """Folders to look in; the first is the one to write to."""
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


def _fetch(source: Source, file: File, folder: Path, given: str | None) -> Path:
    """Downloads a file from the first mirror that has it whole and unchanged.

    Args:
      given: what the key ``folder`` says.
    """
    mirrors, final = list(source.mirrors), folder / file.name
    if own := os.environ.get("DLRUN_MIRROR"):
        if not is_address(own):
            raise Unfit(".DLRUN_MIRROR", own, "be an address that begins with http:// or https://")
        mirrors.insert(0, f"{own.rstrip('/')}/{source.folder}")
    failures = []
    try:
        with partial(final) as part:
            for mirror in mirrors:
                if final.is_file():  # another process was quicker
                    return final
                try:
                    transfer(f"{mirror}/{file.name}", file, part)
                except Failed as why:
                    failures.append(f"{host(mirror)}: {why}")
                    continue
                os.fsync(part.fileno())
                os.replace(part.name, final)
                return final
    except OSError as error:  # of the disk: those of the network are Failed
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
