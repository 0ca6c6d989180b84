"""Draws the metrics of runs against a number that was swept, such as a learning rate or a width: a line a group."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from dlrun.compare.as_typed import short
from dlrun.compare.grouping import grouped
from dlrun.compare.groups import Group, Groups, averaged
from dlrun.compare.measures import Quantity
from dlrun.compare.plot import labels
from dlrun.compare.plot.panels import OTHERS, Picture, colors_of, of_data_sets, short_name, title_of
from dlrun.display.figures import logarithmic
from dlrun.display.units import noun
from dlrun.errors import InvalidConfig, nearest, show
from dlrun.runs.rundir import is_number
from dlrun.runs.runs import Runs

TICKS = 8  # up to so many values each has its own tick


class Points(NamedTuple):
    """A group's values of a quantity by the number that was swept; arrays of one shape.

    Args:
      x: the numbers, ascending.
      mean, spread: over the seeds of completed runs, the standard deviation.
      n: how many seeds.
      lost: the numbers at which runs did not complete.
    """

    x: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    n: np.ndarray
    lost: list[float]


def checked(runs: Runs, key: str, others: Sequence[str]) -> str:
    """The full name of a key or fact that has several numbers as values.

    Args:
      others: what ``--x`` may be besides.

    Raises:
      InvalidConfig: if there is no such key, or it has fewer than two numbers as values.
    """
    numbers = [name for name in runs.differing if _swept(runs, name)]
    allowed = ", ".join([*others, *map(short, numbers)])
    try:
        name = runs.column(key)
    except InvalidConfig:
        near = nearest(key, [*others, *numbers])
        raise InvalidConfig([f"--x {show(key)}: no such column{near}; allowed: {allowed}"]) from None
    if "/" in name or not _swept(runs, name):
        raise InvalidConfig([f"--x {show(key)}: not a number that was swept; allowed: {allowed}"])
    return name


def _swept(runs: Runs, name: str) -> bool:
    return len({value for run in runs if is_number(value := run.value(name))}) > 1


def draw(runs: Runs, groups: Groups, quantities: Sequence[Quantity], file: Path, key: str) -> None:
    """Draws a panel for each quantity and data set: means over seeds of completed runs ± their standard deviation.

    Args:
      groups: the groups, of which those that differ in ``key`` alone are one line.
      key: a column of numbers.
      file: the picture, replaced atomically; its suffix says the format.
    """
    if key in groups.keys:
        groups = grouped(runs, [name for name in groups.keys if name not in (key, *groups.split)])
    order = groups.ranked(quantities[0]) if quantities else groups.groups
    sets = of_data_sets(groups, order)
    longest = max((len(short_name(group.name)) + 8 for group in order), default=0)
    picture = Picture(list(sets), len(quantities), longest)
    lost = False
    for row, name in enumerate(picture.rows):
        for panel, quantity in zip(picture.panels(row), quantities, strict=False):
            lost |= _panel(panel, quantity, key, sets[name], colors_of(groups, sets[name]), len(order) > 1)
            panel.set_title(title_of(quantity.name, name, list(sets)), fontsize=10, loc="left", parse_math=False)
    absent = sum(not is_number(run.value(key)) for run in runs)
    notes = ["×: runs that did not complete"] if lost else []
    notes += [f"left out: {absent} {noun(absent, 'run')} without a number"] if absent else []
    count = sum(map(averaged, runs))
    picture.save(f"mean ± standard deviation over seeds, of {count} completed {noun(count, 'run')}", notes, file)


def points(group: Group, quantity: Quantity, key: str) -> Points:
    """What a group came to at each number."""
    found = {value: runs for (value,), runs in group.runs.groups([key]).items() if is_number(value)}
    parts = {value: replace(group, runs=found[value]) for value in sorted(found)}
    all_of = {float(value): part.summary(quantity) for value, part in parts.items()}
    known = {value: s for value, s in all_of.items() if s.mean is not None}
    lost = [float(value) for value, part in parts.items() if part.left_out]
    mean, spread, n = ([getattr(s, name) or 0.0 for s in known.values()] for name in ("mean", "std", "n"))
    return Points(np.array([*known], float), np.array(mean, float), np.array(spread, float), np.array(n, float), lost)


def suits_logarithm(values: np.ndarray) -> bool:
    """Whether numbers lie more evenly on a logarithmic scale, as 0.001, 0.01, 0.1 and 16, 32, 64 do.

    Of two numbers, whether the larger is ten times the smaller or more.
    """
    values = np.unique(values)
    if values.size < 2 or values[0] <= 0:
        return False
    if values.size == 2:
        return bool(values[1] >= 10 * values[0])
    uneven = [np.std(steps) / np.mean(steps) for steps in (np.diff(np.log(values)), np.diff(values))]
    return bool(uneven[0] < uneven[1])


def _panel(
    panel: Axes, quantity: Quantity, key: str, order: Sequence[Group], colors: dict[Group, str], named: bool
) -> bool:
    """Draws a panel; returns whether it marks runs that did not complete.

    Args:
      named: whether the lines get names even if they are single runs, as where the picture has several groups.
    """
    found = {group: points(group, quantity, key) for group in order}
    ends = []
    for group in [*(g for g in order if g not in colors), *(g for g in reversed(order) if g in colors)]:
        color, p = colors.get(group, OTHERS), found[group]
        if p.x.size:
            width = 1.4 if group in colors else 0.7
            spread = p.spread if group in colors and p.spread.any() else None
            panel.errorbar(p.x, p.mean, spread, color=color, marker="o", markersize=3.5, linewidth=width, capsize=2)
            ends += [labels.End(_name(group, p), color, p.x[-1], p.mean[-1])] if group in colors else []
        if p.lost:
            marks = {"linestyle": "", "marker": "x", "markersize": 5, "transform": panel.get_xaxis_transform()}
            panel.plot(p.lost, [0.03] * len(p.lost), color=color, **marks)
    _frame(panel, quantity, key, list(found.values()))
    if named or any(p.n.max(initial=0) > 1 for p in found.values()):
        labels.write(panel, ends)
    return any(p.lost for p in found.values())


def _frame(panel: Axes, quantity: Quantity, key: str, seen: Sequence[Points]) -> None:
    x = np.unique(np.concatenate([*(np.array([*p.x, *p.lost]) for p in seen), np.empty(0)]))
    mean = np.concatenate([*(p.mean for p in seen), np.empty(0)])
    if not mean.size:
        panel.text(0.5, 0.5, "no run has it", transform=panel.transAxes, ha="center", color="#5c6670")
    else:
        top = max(float((p.mean + p.spread).max(initial=-np.inf)) for p in seen)
        logarithmic(panel, quantity.metric, mean, top)
    if suits_logarithm(x):
        panel.set_xscale("log")
        panel.xaxis.set_minor_formatter(NullFormatter())
    if 0 < x.size <= TICKS:
        panel.set_xticks(x, [f"{value:g}" for value in x])
        panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel(short(key), fontsize=9, parse_math=False)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25)


def _name(group: Group, p: Points) -> str:
    low, high = int(p.n.min()), int(p.n.max())
    return f"{short_name(group.name)}  n={low}" + (f"–{high}" if high > low else "")
