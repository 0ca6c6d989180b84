"""Draws the curves of groups: the mean of a group's runs as a line, their spread as a band."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dlrun.compare.groups import Group, Groups, averaged
from dlrun.compare.measures import Quantity
from dlrun.display.figures import logarithmic, save
from dlrun.display.units import noun
from dlrun.runs.run import Run

BASELINE, OTHERS = "#1b1f24", "#a9b2bc"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255")
"""The colours of the best groups: Okabe and Ito's, but for their yellow, faint on white, a wine red of Tol's."""
FEW = 3  # groups that have room for the curves of training, too
LONGEST = 44  # characters of a label
LETTER, LINE = 0.072, 0.155  # inches: the width of a character in a label, the height of its line
PANEL, HEIGHT = 4.4, 3.7  # inches


class Line(NamedTuple):
    """A curve: steps, values, and how far they spread to either side; arrays of one shape."""

    steps: np.ndarray
    values: np.ndarray
    spread: np.ndarray


def draw(groups: Groups, order: Sequence[Group], quantities: Sequence[Quantity], file: Path) -> None:
    """Draws one panel per metric: means over the seeds of each group's completed runs, ± their standard deviation.

    Runs that did not complete are thin dashed lines. The best groups and the baseline have colours and labels; all
    others are grey.

    Args:
      order: the groups, best first.
      file: the picture, replaced atomically; its suffix says the format.
    """
    metrics = dict.fromkeys(q.metric.replace("test/", "val/") for q in quantities)  # the test split has no curve
    colors = _colors(groups, order)
    names = [_short(group.name) for group in order if group in colors and len(order) > 1]
    margin = 0.3 + LETTER * max(map(len, names), default=0)
    width, panels = (0.75 + PANEL + margin), max(len(metrics), 1)
    figure = Figure(figsize=(width * panels, HEIGHT))
    FigureCanvasAgg(figure)
    training = False
    for i, metric in enumerate(metrics):
        box = ((i + (0.75 / width)) / panels, 0.135, PANEL / width / panels, 0.70)
        training |= _metric(figure.add_axes(box), metric, order, colors)
    title = _title(order, colors, training)
    figure.text(0.12 / figure.get_figwidth(), 0.94, title, fontsize=9, va="center", parse_math=False)
    save(figure, file, form=file.suffix[1:].lower(), dpi=160)


def _colors(groups: Groups, order: Sequence[Group]) -> dict[Group, str]:
    """The colours of the best groups; groups without a completed run get none, unless no group has one."""
    chosen = [group for group in order if group.completed] or order
    best = [group for group in chosen if group is not groups.baseline]
    colors: dict[Group, str] = dict(zip(best, COLORS, strict=False))
    if groups.baseline is not None and groups.baseline in chosen:
        colors[groups.baseline] = BASELINE
    return colors


def _metric(panel: Axes, metric: str, order: Sequence[Group], colors: dict[Group, str]) -> bool:
    """Draws a panel; returns whether it has curves of training, too."""
    seen, labels, thin = [], [], False
    pale = min(max(25 / len(order), 0.2), 0.8)  # many lines together must not hide the others
    for group in [*(g for g in order if g not in colors), *(g for g in reversed(order) if g in colors)]:
        color = colors.get(group, OTHERS)
        mean = _mean(group, metric)
        unfinished = [line for run in group.runs if not averaged(run) and (line := _line(run, metric)).steps.size]
        for line in unfinished:
            alpha = 0.8 if group in colors else pale
            panel.plot(line.steps, line.values, color=color, linewidth=0.8, linestyle=(0, (4, 2)), alpha=alpha)
        if mean.steps.size:
            width, alpha = (1.6, 1) if group in colors else (0.7, pale)
            dot = "." if mean.steps.size == 1 else None
            panel.plot(mean.steps, mean.values, color=color, marker=dot, linewidth=width, alpha=alpha)
            seen.append(mean)
        if mean.spread.any() and group in colors:
            low, high = mean.values - mean.spread, mean.values + mean.spread
            panel.fill_between(mean.steps, low, high, color=color, alpha=0.15, linewidth=0)
        training = len(order) <= FEW and metric.startswith("val/")
        if training and (faint := _mean(group, metric.replace("val/", "train/"))).steps.size:
            panel.plot(faint.steps, faint.values, color=color, linewidth=0.8, alpha=0.45)
            thin = True
        if group in colors and (mean.steps.size or unfinished):
            labels.append((group, mean if mean.steps.size else unfinished[-1]))
    _frame(panel, metric, seen or [line for _, line in labels])
    if len(order) > 1:
        _label(panel, labels, colors)
    return thin


def _mean(group: Group, metric: str) -> Line:
    """Mean and standard deviation over the seeds of a group; runs of the same seed are averaged first."""
    seeds = [
        [line for run in runs if (line := _line(run, metric)).steps.size] for runs in group.by_seeds(group.completed)
    ]
    means = [mean_line(lines) for lines in seeds if lines]
    return mean_line([Line(m.steps, m.values, np.zeros_like(m.values)) for m in means])


def mean_line(lines: Sequence[Line]) -> Line:
    """Mean and standard deviation at each step that any curve has, over the curves that reach that step.

    A curve reaches from its first step to its last; between its own steps it is interpolated.
    """
    if len(lines) == 1:
        return lines[0]
    steps = np.unique(np.concatenate([line.steps for line in lines])) if lines else np.empty(0)
    there = np.full((len(lines), steps.size), np.nan)
    for values, line in zip(there, lines, strict=True):
        values[:] = np.interp(steps, line.steps, line.values, left=np.nan, right=np.nan)
    n = np.isfinite(there).sum(0)
    known = n > 0  # there may be a gap between runs, if one ended before another began
    steps, there, n = steps[known], there[:, known], n[known]
    mean = np.nansum(there, 0) / n
    square = np.nansum((there - mean) ** 2, 0)
    return Line(steps, mean, np.sqrt(square / np.maximum(n - 1, 1)))


def _line(run: Run, metric: str) -> Line:
    """A run's curve; of several rows with the same step, the last counts."""
    found = {step: value for step, _, value in run.series(metric) if abs(value) < 1e100}  # its square is finite
    steps, values = np.array(sorted(found.items()), float).reshape(-1, 2).T
    return Line(steps, values, np.zeros_like(values))


def _frame(panel: Axes, metric: str, seen: Sequence[Line]) -> None:
    """Scales the axes to all means and bands; lines beyond them, such as of runs that diverge, are cut off."""
    values = np.concatenate([*(v for s in seen for v in (s.values - s.spread, s.values + s.spread)), np.empty(0)])
    centres = np.concatenate([*(s.values for s in seen), np.empty(0)])
    if not values.size:
        panel.text(0.5, 0.5, "no run has it in its rows", transform=panel.transAxes, ha="center", color="#5c6670")
    elif not logarithmic(panel, metric, centres, values.max()):
        pad = 0.04 * (values.max() - values.min()) or 0.05 * abs(values.max()) or 0.05
        panel.set_ylim(values.min() - pad, values.max() + pad)
    last = max((line.steps[-1] for line in seen), default=1)
    panel.set_xlim(0, max(last, 1))
    panel.set_title(metric, fontsize=10, loc="left", parse_math=False)
    panel.set_xlabel("step", fontsize=9)
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25)


def _label(panel: Axes, labels: Sequence[tuple[Group, Line]], colors: dict[Group, str]) -> None:
    """Writes the groups' names beside the ends of their lines, with a thin line to each."""
    from scipy.optimize import isotonic_regression  # a quarter of a second

    to_axes = panel.transData + panel.transAxes.inverted()
    ends = {group: to_axes.transform((line.steps[-1], line.values[-1])) for group, line in labels}
    ends = {group: np.clip(np.nan_to_num(end), 0, 1) for group, end in ends.items()}
    sorted_labels = sorted(labels, key=lambda label: ends[label[0]][1])
    if not sorted_labels:
        return
    gap = LINE / (0.70 * HEIGHT)
    floors = gap * np.arange(len(sorted_labels))
    # Each name as near to its line as possible (least squares), with neighbours a line's height apart.
    shifted = isotonic_regression(np.array([ends[group][1] for group, _ in sorted_labels]) - floors).x
    for (group, _), y in zip(sorted_labels, np.clip(shifted, 0, max(1 - floors[-1], 0)) + floors, strict=True):
        end = ends[group]
        leader = {"color": colors[group], "linewidth": 0.5, "clip_on": False, "transform": panel.transAxes}
        panel.plot([end[0], 1.025], [end[1], y], **leader)
        panel.text(
            1.035, y, _short(group.name), color=colors[group], fontsize=8, va="center", transform=panel.transAxes,
            parse_math=False,
        )  # fmt: skip


def _title(order: Sequence[Group], colors: dict[Group, str], training: bool) -> str:
    """Says in one or two lines what is drawn."""
    counted = [len(group.completed) for group in order]
    runs, all_runs = sum(counted), sum(len(group.runs) for group in order)
    said = f"{runs} completed {noun(runs, 'run')}"
    if max(counted, default=0) > 1:
        said = f"mean ± standard deviation over {'the seeds of ' * _several(order)}{said}"
        said += f" in {len(order)} groups" if len(order) > 1 else ""
    notes = [f"{len(colors)} of {len(order)} groups in colour"] if len(order) > len(colors) else []
    notes += ["thin: training"] if training else []
    notes += [f"dashed: {all_runs - runs} not completed"] if all_runs > runs else []
    return "\n".join([said, "; ".join(notes)] if notes else [said])


def _several(order: Sequence[Group]) -> bool:
    """Whether a seed has several runs."""
    return any(len(group.by_seeds(group.completed)) < len(group.completed) for group in order)


def _short(name: str) -> str:
    name = re.sub(r"\d+\.\d{5,}(e[+-]?\d+)?", lambda number: f"{float(number[0]):.4g}", name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"
