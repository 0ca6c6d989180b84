"""Whether a model could learn anything from the inputs at all."""

import contextlib
from dataclasses import replace

import numpy as np

from dlrun.data import lazy
from dlrun.data.dataset import Array, Dataset

ROWS = 1000
DECODED = 64  # rows of those that are decoded one by one


def checked(data: Dataset) -> Dataset:
    """The data set, with a warning where its training inputs are constant, and where they are beyond white."""
    with contextlib.suppress(OSError):  # a file that can't be decoded fails the run, by its name
        return replace(data, warnings=(*data.warnings, *told(data)))
    return data


def told(data: Dataset) -> list[str]:
    """A line for each thing that is wrong with the training inputs, by a sample that is always the same."""
    x = lazy.drawn(data.train.x, DECODED if lazy.decoded(data.train.x) else ROWS)
    name = {"image": "images", "rows": "rows", "tokens": "sequences"}[data.kind]
    whose = f"the training {name}" if len(x) == len(data.train) else f"{len(x):,} training {name} drawn at random"
    return [*constant_inputs(data, x, whose), *_beyond_white(data, x, whose)]


def _beyond_white(data: Dataset, x: Array, whose: str) -> list[str]:
    """Where ``data.white`` is too small for pictures, whose numbers are then 255 where they are white."""
    white = data.facts.get("white")
    beyond = 0 if white is None else int((x > 255 * (1 + 1e-6)).any(axis=(1, 2, 3)).sum())
    return [f"{beyond:,} of {whose} have pixels above data.white={white:g}"] if beyond else []


def constant_inputs(data: Dataset, x: Array, whose: str) -> list[str]:
    """A line where the training inputs, or most of them, are constant.

    An image or a sequence is constant when all its numbers are one and the same; a feature of rows when it is in all.

    Args:
      x: a sample of them.
      whose: what it is called.
    """
    n = len(x)
    flat = x.reshape(n, -1)
    same = (flat == flat[0]).all(0)
    if n > 1 and same.all():
        return [f"nothing can be learnt from the inputs: {whose} are all the same"]
    if data.kind == "rows":
        if n == 1 or 2 * same.sum() <= len(same):
            return []
        for part in lazy.pieces(data.train.x):  # a category may be too rare for a sample
            same &= (data.train.x[part] == flat[0]).all(0)
        few = 2 * same.sum() <= len(same)
        return [] if few else [f"{same.sum():,} of {len(same):,} features have one value in all training rows"]
    constant = (flat == flat[:, :1]).all(1)
    if flat.shape[1] == 1 or 2 * constant.sum() < n:
        return []
    return [f"{constant.sum():,} of {whose} have one value throughout, {_values(flat[constant, 0])}"]


def _values(found: Array) -> str:
    """The commonest."""
    values, counts = np.unique(found, return_counts=True)
    return f"mostly {values[counts.argmax()]:g}" if len(values) > 1 else f"{values[0]:g}"
