"""The small data sets that scikit-learn brings along, read from its files: importing it takes longer than training."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.dataset import Array, Dataset, Rows


def table(name: str, *, header: bool = False, delimiter: str | None = ",") -> Array | None:
    """The numbers in a file of scikit-learn's, (rows, columns) as float64; None where it is not there.

    Args:
      name: of a file in ``sklearn/datasets/data``, plain or gzipped.
      header: whether its first line holds no numbers.
      delimiter: between numbers; None is any white space.
    """
    package = importlib.util.find_spec("sklearn")
    for place in (package and package.submodule_search_locations) or ():
        file = Path(place, "datasets/data", name)
        if file.is_file():
            return np.loadtxt(file, delimiter=delimiter, skiprows=int(header), ndmin=2)
    return None


def classified(name: str, classes: tuple[str, ...], loader: str) -> Dataset:
    """Rows of features and a class number, which is a file's last column.

    Args:
      name: of the file.
      classes: names of the classes.
      loader: the function of ``sklearn.datasets`` that gives the same, in versions that keep no such file.
    """
    found = table(name, header=True)
    if found is None:
        x, y = load(loader)
    else:
        x, y = found[:, :-1], found[:, -1]
    return Dataset("rows", classes, Rows(x.astype(np.float32), y.astype(np.int32)))


def load(loader: str, **options: Any) -> tuple[Array, Array]:
    """What one of ``sklearn.datasets``' functions gives."""
    from sklearn import datasets

    function: Callable[..., tuple[Array, Array]] = getattr(datasets, loader)
    return function(return_X_y=True, **options)
