"""curves.png: metrics of training and validation side by side over the steps."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SKIPPED = ("step", "epoch", "split", "time", "grad_norm", "loss_scale")
COLORS = {"train": "#9aa5b1", "val": "#d1495b"}


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Draws a panel a metric: training in grey, validation in red, the best validation value marked."""
    names = [k for k in dict.fromkeys(k for row in rows for k in row) if k not in SKIPPED]
    figure = Figure(figsize=(4.2 * len(names), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for split, color in COLORS.items():
            points = [(r["step"], r[name]) for r in rows if r["split"] == split and r.get(name) is not None]
            if points:
                x, y = zip(*points, strict=True)
                axis.plot(x, y, color=color, label=split, marker="." if len(x) < 40 else None, linewidth=1.5)
        axis.set(title=name, xlabel="step")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        if len(axis.lines) > 1:
            axis.legend(frameon=False)
    part = file.with_name(f".{file.name}")
    figure.savefig(part, format="png", dpi=110)
    part.replace(file)
