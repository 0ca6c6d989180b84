"""What pictures of groups share: a panel a metric and data set, colours, and the line that says what is shown."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.compare.groups import Group, Groups
from dlrun.compare.plot.labels import LETTER
from dlrun.display.figures import save

BASELINE, OTHERS = "#1b1f24", "#a9b2bc"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255")
"""The colours of the best groups: Okabe and Ito's, but for their yellow, faint on white, a wine red of Tol's."""
LONGEST = 44  # characters of a label
SETS = 6  # data sets, each with a row of panels, that a picture has at most
PANEL, HEIGHT, LEFT, HEAD, FOOT = 4.4, 2.6, 0.75, 0.62, 0.5  # inches: a panel, and what is left free around it


def of_data_sets(groups: Groups, order: Sequence[Group]) -> dict[str, list[Group]]:
    """The groups by data set, each with its runs of that set alone."""
    sets = dict.fromkeys(groups.data[run] for group in order for run in group.runs)
    parts = {
        name: [(group, group.runs.of(run for run in group.runs if groups.data[run] == name)) for group in order]
        for name in sets
    }
    return {name: [replace(group, runs=runs) for group, runs in some if runs] for name, some in parts.items()}


def colors_of(groups: Groups, order: Sequence[Group]) -> dict[Group, str]:
    """The colours of the best groups; groups without a completed run get none, unless no group has one."""
    base = groups.baseline and groups.baseline.name
    chosen = [group for group in order if group.completed] or order
    colors: dict[Group, str] = dict(zip([g for g in chosen if g.name != base], COLORS, strict=False))
    return colors | {group: BASELINE for group in chosen if group.name == base}


class Picture:
    """A figure of panels, a row a data set and a column a metric, with room for names at the right of each."""

    def __init__(self, rows: Sequence[str], columns: int, longest: int):
        """Args:
        rows: the data sets.
        longest: characters of the longest name beside a panel; 0 for none.
        """
        self.rows, self.columns = rows[:SETS], max(columns, 1)
        width = LEFT + PANEL + 0.3 + LETTER * longest
        self.width, self.height = width * self.columns, (HEIGHT + HEAD + FOOT) * len(self.rows)
        self.figure = Figure(figsize=(self.width, self.height + 0.1))
        FigureCanvasAgg(self.figure)
        self.more = [f"{SETS} of {len(rows)} data sets"] if len(rows) > SETS else []

    def panels(self, row: int) -> Iterator[Axes]:
        """Makes the panels of a data set, from left to right."""
        whole_width, whole_height = self.figure.get_size_inches()
        bottom = (len(self.rows) - row) * (HEIGHT + HEAD + FOOT) - HEAD - HEIGHT
        for column in range(self.columns):
            left = column * self.width / self.columns + LEFT
            yield self.figure.add_axes(
                (left / whole_width, bottom / whole_height, PANEL / whole_width, HEIGHT / whole_height)
            )

    def save(self, said: str, notes: Sequence[str], file: Path) -> None:
        """Writes the figure, with one or two lines that say what is drawn; the file is replaced atomically."""
        width, height = self.figure.get_size_inches()
        notes = [*self.more, *notes]
        title = "\n".join([said, "; ".join(notes)] if notes else [said])
        self.figure.text(0.12 / width, 1 - 0.22 / height, title, fontsize=9, va="center", parse_math=False)
        save(self.figure, file, form=file.suffix[1:].lower(), dpi=160)


def title_of(name: str, data: str, rows: Sequence[str]) -> str:
    """The title of a panel: the metric, and the data set where there are several."""
    return f"{name}, {short_name(data)}" if len(rows) > 1 else name


def short_name(name: str) -> str:
    """A group's name, with numbers of many digits cut, and the middle left out where it is long."""
    name = re.sub(r"\d+\.\d{5,}(e[+-]?\d+)?", lambda number: f"{float(number[0]):.4g}", name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"
