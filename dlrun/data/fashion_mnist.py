"""Fashion-MNIST, from files in the IDX format."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np

from dlrun.data.dataset import Dataset, Rows
from dlrun.schema import Unfit

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def fashion_mnist(*, folder: str | None = None) -> Dataset:
    """60,000 training and 10,000 test images of 28x28 pixels, ten classes (Xiao et al., 2017).

    Args:
      folder: where the four files lie, plain or gzipped. By default the first that has them of
        ``$DLRUN_DATA/fashion-mnist`` and ``datasets/fashion-mnist`` in the user's and the system's data folders, where
        Debian's package dataset-fashion-mnist puts them.
    """
    where = _folder(folder)
    parts = {}
    for split, (images, labels) in FILES.items():
        x, y = _idx(where, images, (28, 28), folder), _idx(where, labels, (), folder)
        if len(x) != len(y):
            raise Unfit("folder", where, f"hold as many images as labels: {images} has {len(x)}, {labels} {len(y)}")
        if y.max(initial=0) > 9:
            raise Unfit("folder", where, f"hold labels from 0 to 9: {labels} has {y.max()}")
        parts[split] = Rows(x[..., None], y.astype(np.int32))
    return Dataset("image", CLASSES, **parts)


def _folder(folder: str | None) -> Path:
    if folder is not None:
        places = [Path(folder).expanduser()]
    else:
        home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
        system = (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
        places = [Path(d) / "datasets" / "fashion-mnist" for d in (home, *system)]
        if own := os.environ.get("DLRUN_DATA"):
            places.insert(0, Path(own) / "fashion-mnist")
    for place in places:
        if _find(place, FILES["train"][0]):
            return place
    looked = ", ".join(map(str, places))
    raise Unfit(
        "folder",
        folder,
        f"hold {FILES['train'][0]}.gz and its three siblings (apt install dataset-fashion-mnist, "
        f"or put them there by hand); looked in {looked}",
    )


def _find(folder: Path, name: str) -> Path | None:
    return next((f for f in (folder / name, folder / f"{name}.gz") if f.is_file()), None)


def _idx(folder: Path, name: str, shape: tuple[int, ...], key: str | None) -> np.ndarray:
    """Unsigned bytes (n, *shape) from an IDX file: two zero bytes, type 8, number of axes, sizes, values."""
    file = _find(folder, name)
    if file is None:
        raise Unfit("folder", key, f"hold {name} or {name}.gz beside the other files; {folder} does not")
    try:
        raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        axes = raw[3]
        sizes = struct.unpack_from(f">{axes}I", raw, 4)
        values = np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)
        sound = raw[:3] == b"\0\0\x08" and sizes[1:] == shape and len(values) == np.prod(sizes) and sizes[0] > 0
    except (OSError, EOFError, IndexError, struct.error, ValueError) as error:
        raise Unfit("folder", key, f"hold sound IDX files: {file} can't be read ({error})") from None
    except Exception as error:  # zlib.error has no common base with the above
        raise Unfit("folder", key, f"hold sound IDX files: {file} is corrupt ({error})") from None
    if not sound:
        raise Unfit("folder", key, f"hold sound IDX files: {file} is not one of {shape} unsigned bytes an example")
    return values.reshape(sizes)
