"""Draws the curves of groups: the mean of a group's runs as a line, their spread as a band."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dlrun.compare.axes import NAMES, Axis
from dlrun.compare.groups import Group, Groups, averaged
from dlrun.compare.measures import Quantity
from dlrun.compare.plot import labels
from dlrun.compare.plot.lines import Line, mean_of, of_run
from dlrun.compare.plot.panels import OTHERS, Picture, colors_of, of_data_sets, short_name, title_of
from dlrun.display.figures import logarithmic
from dlrun.display.units import noun

FEW = 3  # groups that have room for the curves of training, too
DASHED, DOTTED = (0, (4, 2)), (0, (1, 1.5))


class Shown(NamedTuple):
    """What kinds of lines a panel has, beside means over all seeds."""

    training: bool = False
    fewer: bool = False


def draw(
    groups: Groups, order: Sequence[Group], quantities: Sequence[Quantity], file: Path, axis: Axis = "step"
) -> None:
    """Draws a panel for each metric and data set: means over the seeds of each group's completed runs, and a band of ±
    their standard deviation, as far as all n seeds reach; beyond, the mean over fewer is dotted.

    Runs that did not complete are thin dashed lines. The best groups and the baseline have colours, and names with n at
    the ends of their lines; all others are grey.

    Args:
      order: the groups, best first.
      file: the picture, replaced atomically; its suffix says the format.
    """
    metrics = dict.fromkeys(q.metric.replace("test/", "val/") for q in quantities)  # the test split has no curve
    sets = of_data_sets(groups, order)
    seeds = any(group.n > 1 for group in order)
    colors = {name: colors_of(groups, some) for name, some in sets.items()}
    longest = max((len(_name(g, g.n, seeds)) for some in colors.values() for g in some if len(order) > 1), default=0)
    picture = Picture(list(sets), len(metrics), longest)
    shown = []
    for row, name in enumerate(picture.rows):
        for panel, metric in zip(picture.panels(row), metrics, strict=False):
            shown.append(_panel(panel, metric, axis, sets[name], colors[name], seeds, len(order) > 1))
            panel.set_title(title_of(metric, name, list(sets)), fontsize=10, loc="left", parse_math=False)
    drawn = [group for name in picture.rows for group in sets[name]]
    colored = sum(len(colors[name]) for name in picture.rows)
    picture.save(*_said(drawn, colored, shown), file)


def _panel(
    panel: Axes,
    metric: str,
    axis: Axis,
    order: Sequence[Group],
    colors: dict[Group, str],
    seeds: bool,
    named: bool,
) -> Shown:
    """Draws a panel, with names at the ends of lines if the picture has several groups."""
    seen, ends, shown = [], [], Shown()
    pale = min(max(25 / len(order), 0.2), 0.8)  # many lines together must not hide the others
    for group in [*(g for g in order if g not in colors), *(g for g in reversed(order) if g in colors)]:
        color, alone = colors.get(group, OTHERS), group not in colors
        mean = mean_of(group, metric, axis)
        unfinished = [line for run in group.runs if not averaged(run) and (line := of_run(run, metric, axis)).x.size]
        for line in unfinished:
            panel.plot(line.x, line.values, color=color, linewidth=0.8, linestyle=DASHED, alpha=pale if alone else 0.8)
        if mean.x.size:
            shown = shown._replace(fewer=_mean(panel, mean, metric, color, pale if alone else None) or shown.fewer)
            seen.append(mean)
        training = len(order) <= FEW and metric.startswith("val/")
        if training and (faint := mean_of(group, metric.replace("val/", "train/"), axis)).x.size:
            panel.plot(faint.x, faint.values, color=color, linewidth=0.8, alpha=0.45)
            shown = shown._replace(training=True)
        if not alone and (mean.x.size or unfinished):
            line = mean if mean.x.size else unfinished[-1]
            name = _name(group, mean.most, seeds)
            ends.append(labels.End(name, color, float(line.x[-1]), float(line.values[-1])))
    _frame(panel, metric, axis, seen or _unfinished(order, metric, axis))
    if named:
        labels.write(panel, ends)
    return shown


def _unfinished(order: Sequence[Group], metric: str, axis: Axis) -> list[Line]:
    return [line for g in order for run in g.runs if (line := of_run(run, metric, axis)).x.size]


def _mean(panel: Axes, mean: Line, metric: str, color: str, pale: float | None) -> bool:
    """Draws a mean: in colour with a band as far as all seeds reach, or pale; returns whether it goes on over fewer."""
    whole = mean.n == mean.most
    width, alpha = (1.6, 1.0) if pale is None else (0.7, pale)
    dot = "." if mean.x.size == 1 else None
    panel.plot(mean.x, np.where(whole, mean.values, np.nan), color=color, marker=dot, linewidth=width, alpha=alpha)
    if not whole.all():
        fewer = ~whole
        fewer[1:] |= ~whole[:-1]  # and where the dotted line meets the other
        fewer[:-1] |= ~whole[1:]
        panel.plot(
            mean.x,
            np.where(fewer, mean.values, np.nan),
            color=color,
            linewidth=0.7 * width,
            alpha=alpha,
            linestyle=DOTTED,
        )
    if mean.spread.any() and pale is None:
        low, high = mean.band(metric)
        panel.fill_between(mean.x, low, high, where=whole.tolist(), color=color, alpha=0.15, linewidth=0)
    return not whole.all()


def _frame(panel: Axes, metric: str, axis: Axis, seen: Sequence[Line]) -> None:
    """Scales the axes to all means and bands; lines beyond them, such as of runs that diverge, are cut off."""
    bands = [edge[s.n == s.most] for s in seen for edge in s.band(metric)]
    values = np.concatenate([*(s.values for s in seen), *bands, np.empty(0)])
    centres = np.concatenate([*(s.values for s in seen), np.empty(0)])
    if not values.size:
        panel.text(0.5, 0.5, "no run has it in its rows", transform=panel.transAxes, ha="center", color="#5c6670")
    elif not logarithmic(panel, metric, centres, values.max()):
        pad = 0.04 * (values.max() - values.min()) or 0.05 * abs(values.max()) or 0.05
        panel.set_ylim(values.min() - pad, values.max() + pad)
    last = max((line.x[-1] for line in seen), default=1)
    panel.set_xlim(0, last if last > 0 else 1)
    panel.set_xlabel(NAMES[axis], fontsize=9)
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=axis in ("step", "examples")))
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25)


def _name(group: Group, n: int, seeds: bool) -> str:
    """What stands at the end of a group's line: its name, and how many seeds it is a mean of, where any has several."""
    return short_name(group.name) + (f"  n={n}" if seeds and n else "")


def _said(order: Sequence[Group], colored: int, shown: Sequence[Shown]) -> tuple[str, list[str]]:
    """Says what is drawn, and what else."""
    counted = [len(group.completed) for group in order]
    runs, all_runs = sum(counted), sum(len(group.runs) for group in order)
    said = f"{runs} completed {noun(runs, 'run')}"
    if max(counted, default=0) > 1:
        several = any(len(group.by_seeds(group.completed)) < len(group.completed) for group in order)
        said = f"mean ± standard deviation over {'the seeds of ' * several}{said}"
        said += f" in {len(order)} groups" if len(order) > 1 else ""
    notes = [f"{colored} of {len(order)} groups in colour"] if len(order) > colored else []
    notes += ["thin: training"] if any(panel.training for panel in shown) else []
    notes += ["dotted: fewer than n seeds reach this far"] if any(panel.fewer for panel in shown) else []
    notes += [f"dashed: {all_runs - runs} not completed"] if all_runs > runs else []
    return said, notes
