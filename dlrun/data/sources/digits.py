"""Handwritten digits, shipped with scikit-learn."""

import importlib.util
from pathlib import Path

import numpy as np

from dlrun.data.dataset import Dataset, Rows


def digits() -> Dataset:
    """1,797 images of 8x8 pixels with values 0 to 16, ten classes (Alpaydin & Kaynak, 1998); no test split."""
    # Reads the file, as importing scikit-learn takes longer than training on these images.
    package = importlib.util.find_spec("sklearn")
    file = Path(package.submodule_search_locations[0], "datasets/data/digits.csv.gz") if package else None  # pyright: ignore
    if file and file.is_file():
        table = np.loadtxt(file, delimiter=",")
        x, y = table[:, :-1], table[:, -1]
    else:
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
    images = x.reshape(-1, 8, 8, 1).astype(np.uint8)
    return Dataset("image", tuple("0123456789"), Rows(images, y.astype(np.int32)))
