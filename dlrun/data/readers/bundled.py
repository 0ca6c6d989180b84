"""Reads scikit-learn's small data sets straight from its files, as importing it takes longer than training on them."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.dataset import Array, Dataset, Rows


def table(name: str, *, header: bool = False, delimiter: str | None = ",") -> Array | None:
    """The numbers in a file of scikit-learn, (rows, columns) as float64; None if there is no such file.

    Args:
      name: the name of a file in ``sklearn/datasets/data``, plain or gzipped.
      header: whether the first line is a header.
      delimiter: separates numbers; None means any white space.
    """
    package = importlib.util.find_spec("sklearn")
    for place in (package and package.submodule_search_locations) or ():
        file = Path(place, "datasets/data", name)
        if file.is_file():
            return np.loadtxt(file, delimiter=delimiter, skiprows=int(header), ndmin=2)
    return None


def classified(name: str, classes: tuple[str, ...], loader: str) -> Dataset:
    """The data set of a file whose last column has class numbers, and whose other columns have features.

    Args:
      name: the name of the file.
      classes: names of the classes.
      loader: the name of the function of ``sklearn.datasets`` to call if scikit-learn's version has no such file.
    """
    numbers = table(name, header=True)
    x, y = load(loader) if numbers is None else (numbers[:, :-1], numbers[:, -1])
    return Dataset("rows", classes, Rows(x.astype(np.float32), y.astype(np.int32)))


def load(loader: str, **options: Any) -> tuple[Array, Array]:
    """Inputs and targets from a function of ``sklearn.datasets``."""
    from sklearn import datasets

    function: Callable[..., tuple[Array, Array]] = getattr(datasets, loader)
    return function(return_X_y=True, **options)
