"""Pictures of a run as files: its learning curves and confusion matrix; :mod:`dlrun.compare.plot` draws groups of runs.

curves.png has one panel per metric, with training and validation over the steps, and a small one for the learning rate.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from dlrun.runs import files
from dlrun.runs.metric_names import ROW_KEYS

SKIPPED = (*ROW_KEYS, "grad_norm", "loss_scale", "lr", "macro_f1", "mae")
COLORS = {"train": "#8795a8", "val": "#d1495b"}
LONGEST = 18  # characters of a class name
NUMBERED = 20  # with up to so many classes, the cells of a confusion matrix show their counts
FEW, MANY = 40, 400  # points of a curve: up to FEW are dots; over more than MANY, a line of MANY / 2 averages is drawn


def draw(rows: list[dict[str, Any]], file: Path, scheduled: tuple[np.ndarray, np.ndarray] | None = None) -> None:
    """Draws a run's curves: training in grey, validation in red, the selected state's test value as a diamond.

    Args:
      rows: as in metrics.jsonl; values that are not finite are left out. Without any metric nothing is drawn.
      file: the picture, replaced atomically.
      scheduled: steps from 0, and the learning rate of each, by the schedule; drawn if the rows have the same rates,
        which they have not where the rate follows validation, or was another before the run was resumed.
    """
    named = dict.fromkeys(k for row in rows for k in row if k not in SKIPPED)
    names = sorted((n for n in named if any(_series(rows, s, n)[0].size for s in COLORS)), key=lambda n: n != "loss")
    if not names:
        return
    rates = _rates(_series(rows, "train", "lr"), scheduled)
    small = bool(rates[0].size)
    width = 4.4 * len(names) + 2.8 * small
    figure = Figure(figsize=(width, 3.3))  # margins are set below, as a layout engine would draw everything twice
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        1, len(names) + small, squeeze=False, width_ratios=[1.0] * len(names) + [0.6] * small,
        gridspec_kw={"left": 0.65 / width, "right": 1 - 0.25 / width, "bottom": 0.16, "top": 0.89, "wspace": 0.24},
    )[0]  # fmt: skip
    for panel, name in zip(panels, names, strict=False):
        _metric(panel, rows, name)
    if small:
        panels[-1].plot(*rates, color="#5b7f95", linewidth=1.5, marker="." if rates[0].size <= FEW else None)
        panels[-1].ticklabel_format(axis="y", scilimits=(-2, 3))
        panels[-1].set_ylim(0, 1.08 * max(rates[1].max(), 1e-12))
        _frame(panels[-1], "learning rate")
    save(figure, file)


def _rates(
    logged: tuple[np.ndarray, np.ndarray], scheduled: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """The learning rate of each step, counted from 1 as rows are: as scheduled up to the last row, or as logged."""
    if scheduled is None or not logged[0].size:
        return logged
    steps, rates = scheduled[0] + 1, scheduled[1]
    there = np.isin(logged[0], steps)  # of a long run the schedule has only some steps
    same = np.interp(logged[0], steps, rates)
    tolerance = np.where(there, 1e-5, 0.05) * max(np.abs(rates).max(), 1e-30)
    if (np.abs(same - logged[1]) > tolerance).any():
        return logged
    upto = steps <= logged[0][-1]
    return steps[upto], rates[upto]


def draw_confusion(counts: list[list[int]], classes: tuple[str, ...], file: Path) -> None:
    """Draws a confusion matrix: how often each true class (row) is taken for each class (column), as shares of a row.

    Args:
      counts: of examples, shape (classes, classes).
      file: the picture, replaced atomically.
    """
    table = np.asarray(counts, float)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    n = len(classes)
    names = [name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in map(str, classes)]
    size = min(max(2.5, 0.42 * n), 14)
    margin = 0.5 + 0.085 * max(map(len, names))
    width, height = size + margin + 0.3, size + margin + 0.4
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    panel = figure.add_axes((margin / width, margin / height, size / width, size / height))
    panel.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)  # the square root makes rare mistakes visible
    every = -(-n // 40)
    panel.set_xticks(range(0, n, every), names[::every], rotation=90)
    panel.set_yticks(range(0, n, every), names[::every])
    if n <= NUMBERED:
        for i, j in np.argwhere(table > 0):
            color = "white" if shares[i, j] > 0.4 else "#20303f"
            panel.text(j, i, f"{int(table[i, j])}", ha="center", va="center", fontsize=7, color=color)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    panel.set_title(f"test: {int(np.trace(table))} of {int(table.sum())} right", fontsize=11)
    save(figure, file)


def save(figure: Figure, file: Path, *, form: str = "png", dpi: int = 110) -> None:
    """Writes a figure in a format such as ``png`` or ``svg``; the file is replaced as a whole, or stays as it was."""
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a letter that the font lacks
        figure.savefig(drawn, format=form, dpi=dpi)
    files.replace(file, [drawn.getvalue()], durable=False)


def _metric(panel: Axes, rows: list[dict[str, Any]], name: str) -> None:
    drawn = []
    for split, color in COLORS.items():
        steps, values = _series(rows, split, name)
        drawn.append(values)
        if steps.size > MANY:
            panel.plot(steps, values, color=color, linewidth=0.5, alpha=0.3)
            steps, values = _averaged(steps), _averaged(values)
        if steps.size:
            panel.plot(
                steps,
                values,
                color=color,
                label=split,
                linewidth=1.6,
                marker="o" if steps.size <= FEW else None,
                markersize=3,
            )
    steps, values = _series(rows, "test", name)
    if steps.size:
        drawn.append(values)
        panel.plot(
            steps[-1:],
            values[-1:],
            "D",
            color="#edae49",
            markeredgecolor="#5f4000",
            markersize=6,
            label="test",
            zorder=3,
        )
    values = np.concatenate(drawn)
    logarithmic(panel, name, values, values.max(initial=0))
    _frame(panel, name)
    panel.legend(frameon=False)


def logarithmic(panel: Axes, name: str, values: np.ndarray, top: float) -> bool:
    """Makes the vertical axis logarithmic, up to ``top``, if that suits the values; returns whether it does."""
    positive = values[values > 0]
    # The values span more than two decades, and are no shares such as accuracies.
    fits = (
        bool(positive.size)
        and not (values < 0).any()
        and positive.max() > 100 * positive.min()
        and ("loss" in name or positive.max() > 1)
    )
    if fits:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(numticks=6))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_ylim(positive.min() / 1.3, top * 1.3)
    return fits


def _frame(panel: Axes, title: str) -> None:
    panel.set_title(title, fontsize=11)
    panel.set_xlabel("step")
    panel.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    panel.set_xlim(left=0)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25)


def _series(rows: list[dict[str, Any]], split: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and finite values of a metric in a split, shape (n,) each."""
    points = [(r["step"], v) for r in rows if r.get("split") == split and isinstance(v := r.get(name), int | float)]
    steps, values = np.array(points, dtype=float).reshape(-1, 2).T
    return steps[np.isfinite(values)], values[np.isfinite(values)]


def _averaged(values: np.ndarray) -> np.ndarray:
    """Means over MANY / 2 consecutive parts of about equal length."""
    return np.array([part.mean() for part in np.array_split(values, MANY // 2)])
