"""Learning curves in the terminal, side by side where there is room."""

from itertools import zip_longest

import numpy as np
from rich.text import Text

from dlrun.display import line_chart
from dlrun.display.page import Page

MANY = 200  # points of a curve; more are averaged
ROWS, NARROW, WIDE, GAP = 9, 36, 60, 4


def show(metrics: dict[str, dict[str, dict[int, float]]], page: Page) -> None:
    """Prints one chart per metric.

    Args:
      metrics: values by metric, then split, then step; each curve has at least two points.
    """
    beside = (page.console.width + GAP) // len(metrics) - GAP
    width = min(beside if beside >= NARROW else page.console.width, WIDE)
    charts = [line_chart.text(chart(*m), width, rows=ROWS, unicode=page.unicode).split("\n") for m in metrics.items()]
    for line in zip_longest(*charts, fillvalue=Text()) if beside >= NARROW else ([line] for c in charts for line in c):
        whole = Text()
        for i, part in enumerate(line):
            whole.append(" " * max((width + GAP) * i - len(whole), 0)).append_text(part)
        page.text(whole)


def chart(metric: str, splits: dict[str, dict[int, float]]) -> line_chart.Chart:
    """The curves of a metric over all steps that any of them has; between its own steps a curve is interpolated."""
    points = {split: np.array(sorted(p.items())).T for split, p in splits.items()}
    means = {split: _averaged(p) if p.shape[1] > MANY else p for split, p in points.items()}
    x = np.unique(np.concatenate([steps for steps, _ in means.values()])).round().astype(int)
    curves = {split: np.interp(x, *p, left=np.nan, right=np.nan) for split, p in means.items()}
    return line_chart.Chart(metric, "step", x, curves, zero=False)


def _averaged(points: np.ndarray) -> np.ndarray:
    """Steps and values, shape (2, n), averaged over MANY consecutive parts, shape (2, MANY)."""
    return np.array([part.mean(axis=1) for part in np.array_split(points, MANY, axis=1)]).T
