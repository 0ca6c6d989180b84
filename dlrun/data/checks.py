"""Checks whether a model could learn anything at all from the inputs, and warns if it could not."""

import contextlib
from dataclasses import replace

import numpy as np

from dlrun.data import lazy
from dlrun.data.dataset import Array, Dataset

ROWS = 1000  # rows that are checked
DECODED = 64  # rows that are checked where each is decoded from a file


def checked(data: Dataset) -> Dataset:
    """The data set with warnings added if its training inputs are constant, or brighter than white."""
    with contextlib.suppress(OSError):  # a file that can't be decoded makes the run fail later, with its name
        return replace(data, warnings=(*data.warnings, *warnings(data)))
    return data


def warnings(data: Dataset) -> list[str]:
    """A line for each thing that is wrong with the training inputs, judged by a random sample, always the same one."""
    x = lazy.draw(data.train.x, DECODED if lazy.decoded(data.train.x) else ROWS)
    name = {"image": "images", "rows": "rows", "tokens": "sequences"}[data.kind]
    whose = f"the training {name}" if len(x) == len(data.train) else f"{len(x):,} training {name} drawn at random"
    return [*constant_inputs(data, x, whose), *_beyond_white(data, x, whose)]


def _beyond_white(data: Dataset, x: Array, whose: str) -> list[str]:
    """A line if pictures have pixels above ``data.white``, which is scaled to 255."""
    white = data.facts.get("white")
    beyond = 0 if white is None else int((x > 255 * (1 + 1e-6)).any(axis=(1, 2, 3)).sum())
    return [f"{beyond:,} of {whose} have pixels above data.white={white:g}"] if beyond else []


def constant_inputs(data: Dataset, x: Array, whose: str) -> list[str]:
    """A line if the training inputs, or most of them, are constant.

    An image or a sequence is constant if all its numbers are equal; a feature is constant if it is equal in all rows.

    Args:
      x: a sample of the training inputs.
      whose: what the sample is, for the line, such as ``the training images``.
    """
    n = len(x)
    flat = x.reshape(n, -1)
    same = (flat == flat[0]).all(0)
    if n > 1 and same.all():
        return [f"nothing can be learnt from the inputs: {whose} are all the same"]
    if data.kind == "rows":
        if n == 1 or 2 * same.sum() <= len(same):
            return []
        for part in lazy.pieces(data.train.x):  # the sample may have missed a rare category
            same &= (data.train.x[part] == flat[0]).all(0)
        few = 2 * same.sum() <= len(same)
        return [] if few else [f"{same.sum():,} of {len(same):,} features have the same value in all training rows"]
    constant = (flat == flat[:, :1]).all(1)
    if flat.shape[1] == 1 or 2 * constant.sum() < n:
        return []
    return [f"{constant.sum():,} of {whose} have one value throughout, {_values(flat[constant, 0])}"]


def _values(constants: Array) -> str:
    """The most common value, in words."""
    values, counts = np.unique(constants, return_counts=True)
    return f"mostly {values[counts.argmax()]:g}" if len(values) > 1 else f"{values[0]:g}"
