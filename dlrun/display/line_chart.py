"""Drawings of curves: as text for a terminal, as a figure for a file."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from dlrun.errors import InvalidConfig

FORMATS = (".png", ".svg", ".pdf")
STYLES = ("bold cyan", "yellow")  # of the first curve, of the second one
COLORS = ("#d1495b", "#8795a8")
BRAILLE = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # the bits of a character's 4 x 2 dots


@dataclass(frozen=True)
class Chart:
    """One curve or two over an axis.

    Args:
      title: what is drawn.
      axis: what ``x`` is.
      x: ascending, shape (n,).
      curves: by name, shape (n,) each. Values that are not finite are left out.
      zero: whether the vertical axis includes 0.
    """

    title: str
    axis: str
    x: np.ndarray
    curves: dict[str, np.ndarray]
    zero: bool = True

    @property
    def ends(self) -> tuple[float, float]:
        """The first and last number of the horizontal axis."""
        return self.x[0], self.x[-1] if self.x[-1] > self.x[0] else self.x[0] + 1

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and largest value on the vertical axis."""
        values = np.concatenate([np.zeros(int(self.zero)), *self.curves.values()])
        values = values[np.isfinite(values)]
        return values.min(), values.max() if values.max() > values.min() else values.min() + 1


def show(chart: Chart) -> None:
    """Prints a chart as wide as the terminal, in colour if there is one, in ASCII if stdout can encode nothing else."""
    console = Console(highlight=False)
    unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    picture = text(chart, min(console.width, 110), rows=min(max(console.height - 10, 9), 21), unicode=unicode)
    console.print(picture, soft_wrap=True)


def text(chart: Chart, columns: int, *, rows: int = 17, unicode: bool = True) -> Text:
    """A chart of about ``rows`` lines of characters: braille patterns of 4 x 2 dots, or plain ASCII.

    A value with a label on the vertical axis lies in the middle of its line; the second curve is dashed or dotted.
    """
    low, high = chart.range
    step = _step(low, high, 6)
    every = max(1, int((rows - 1) / (high - low) * step))  # lines from one named value to the next
    bottom, top = math.floor(low / step * every + 1e-6), math.ceil(high / step * every - 1e-6)
    height = top - bottom + 1
    names = {top - n: _label(n // every * step, step) for n in range(bottom, top + 1) if n % every == 0}
    margin = max(map(len, names.values())) + 2
    width = max(columns - margin, 20)

    tall, wide = (4, 2) if unicode else (1, 1)
    cells = []
    for number, y in enumerate(chart.curves.values()):
        at = np.interp(np.linspace(*chart.ends, width * wide), chart.x, y)
        dots = _dots((at / step * every - bottom) * tall + (tall - 1) // 2, height * tall)
        if unicode and number:
            dots &= np.arange(width * wide) // 3 % 2 == 0
        cells.append(dots[::-1].reshape(height, tall, width, wide).transpose(0, 2, 1, 3))

    axis, tick = "│┤" if unicode else "|+"
    lines = [Text(chart.title, "bold")]
    for row in range(height):
        drawn = Text(f"{names.get(row, ''):>{margin - 2}} {tick if row in names else axis}")
        for column in range(width):
            here = [cell[row, column] for cell in cells]
            owner = next((number for number, dots in enumerate(here) if dots.any()), None)
            if owner is None:
                drawn.append(" ")
            else:
                bits = int((np.logical_or.reduce(here) * BRAILLE).sum()) if unicode else 0
                drawn.append(chr(0x2800 + bits) if unicode else "*."[owner], STYLES[owner])
        lines.append(drawn)
    lines += [Text(" " * (margin - 1) + line) for line in _axis(chart, width, unicode=unicode)]
    if len(chart.curves) > 1:
        samples = ("⠒⠒⠒", "⠒ ⠒") if unicode else ("***", "...")
        named = [Text.assemble((samples[n], STYLES[n]), f" {name}") for n, name in enumerate(chart.curves)]
        lines.append(Text(" " * margin) + Text("    ").join(named))
    for drawn in lines:
        drawn.rstrip()
    return Text("\n").join(lines)


def _axis(chart: Chart, width: int, *, unicode: bool) -> tuple[str, str, str]:
    """The horizontal axis, from its corner on: a line with tick marks, their numbers, and the name of the axis."""
    corner, line, mark = "└─┬" if unicode else "+-+"
    first, last = chart.ends
    step = _step(first, last, width // (len(_label(last, 1)) + 6))
    if chart.x.dtype.kind == "i":
        step = max(step, 1)
    rule, below = [line] * width, [" "] * (1 + width)
    for k in range(math.ceil(first / step - 0.01), math.floor(last / step + 0.01) + 1):
        at, name = round((k * step - first) / (last - first) * (width - 1)), _label(k * step, step)
        rule[min(max(at, 0), width - 1)] = mark
        start = min(max(1 + at - len(name) // 2, 0), len(below) - len(name))
        below[start : start + len(name)] = name
    return corner + "".join(rule), "".join(below), chart.axis.center(width + 2)


def check(file: Path) -> None:
    """Raises :class:`InvalidConfig` for a file whose suffix is no known format, or whose folder does not exist."""
    if file.suffix.lower() not in FORMATS:
        raise InvalidConfig([f"--save {file}: unknown suffix; allowed: {', '.join(FORMATS)}"])
    if not file.parent.is_dir():
        raise InvalidConfig([f"--save {file}: can't be written: no such folder"])


def save(charts: list[Chart], file: Path) -> None:
    """Writes charts side by side, in the format that the file's suffix names; the file is replaced atomically.

    Raises:
      InvalidConfig: if the file can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from dlrun.display import figures

    figure = Figure(figsize=(5.6 * len(charts), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
        for (name, y), color, style in zip(chart.curves.items(), COLORS, ("-", "--"), strict=False):
            panel.plot(chart.x, y, color=color, linestyle=style, linewidth=1.6, label=name)
        panel.set_title(chart.title, fontsize=11)
        panel.set_xlabel(chart.axis)
        panel.set_ylim(bottom=0 if chart.range[0] == 0 else None)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
        if len(chart.curves) > 1:
            panel.legend(frameon=False)
        else:
            panel.set_ylabel(next(iter(chart.curves)))
    try:
        figures.save(figure, file.resolve(), form=file.suffix[1:].lower())  # a link of the user's own is followed
    except OSError as error:
        raise InvalidConfig([f"--save {file}: can't be written: {error.strerror}"]) from None


def _dots(levels: np.ndarray, height: int) -> np.ndarray:
    """A curve as dots, shape (height, columns), row 0 at the bottom: one at each column's level, and those between."""
    dots = np.zeros((height, len(levels)), bool)
    before = None
    for column, level in enumerate(levels):
        if not np.isfinite(level):
            before = None
            continue
        at = round(level)
        start = at if before is None or before == at else before + (1 if at > before else -1)
        dots[min(start, at) : max(start, at) + 1, column] = True
        before = at
    return dots


def _label(value: float, step: float) -> str:
    """A multiple of ``step`` as text, with the digits that it needs."""
    digits = max(0, -math.floor(math.log10(step) + 1e-6))
    return f"{value:.{digits}f}" if digits <= 4 and abs(value) < 1e9 else f"{value:.1e}" if value else "0"


def _step(low: float, high: float, most: int) -> float:
    """1, 2 or 5 times a power of ten, such that ``low`` to ``high`` takes about ``most`` steps or fewer."""
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    return power * next(m for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-6))
