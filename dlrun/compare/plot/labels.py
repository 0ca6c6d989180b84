"""Writes names at the ends of curves, so that none covers another and no line leads across the picture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

LETTER, LINE = 0.072, 0.168  # inches: the width of a character in a label, the height of its line
EDGE = 0.94  # of a panel's width: curves that end beyond have their names beside the panel
ASIDE, GAP = 1.035, 0.012  # where those names begin, and how far from their curves the others do


class End(NamedTuple):
    """The end of a curve, in the panel's data, and the name to write there."""

    name: str
    color: str
    x: float
    y: float


def write(panel: Axes, ends: Sequence[End]) -> None:
    """Writes each name to the right of its curve's end.

    Where the curve reaches the panel's edge, that is beside the panel, with a short line to it; else within the panel,
    with a light border that sets it off from other curves.
    """
    if not ends:
        return
    from scipy.optimize import isotonic_regression  # a quarter of a second

    to_axes = panel.transData + panel.transAxes.inverted()
    places = np.clip(np.nan_to_num([to_axes.transform((end.x, end.y)) for end in ends]), 0, 1)
    upwards = sorted(zip(ends, places[:, 0], places[:, 1], strict=True), key=lambda place: place[2])
    height = panel.get_position().height * panel.figure.get_size_inches()[1]  # pyright: ignore[reportAttributeAccessIssue]
    floors = LINE / height * np.arange(len(upwards))
    # Each name as near to its line as possible (least squares), with neighbours a line's height apart.
    shifted = isotonic_regression(np.array([y for _, _, y in upwards]) - floors).x
    heights = np.clip(shifted, 0, max(1 - floors[-1], 0)) + floors
    for (end, x, y), at in zip(upwards, heights, strict=True):
        how = {"transform": panel.transAxes, "color": end.color}
        if beside := x >= EDGE:
            panel.plot([x, ASIDE - 0.01], [y, at], linewidth=0.5, clip_on=False, **how)
        border = [] if beside else [withStroke(linewidth=2.5, foreground="white", alpha=0.85)]
        left = ASIDE if beside else x + GAP
        panel.text(left, at, end.name, fontsize=8, va="center", parse_math=False, path_effects=border, **how)
