"""The display of a run that has a terminal: one moving line below the lines that stay."""

import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from dlrun.display.progress import Progress
from dlrun.display.units import clock, fitted, number
from dlrun.errors import safe


def can_move(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose lines can be drawn again; asked before ``rich``, which is slow to import."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


class TerminalProgress(Progress):
    """A :class:`Progress` with a moving line where stderr is a terminal; elsewhere it has only the lines that stay."""

    def __init__(self, metric: str = "val/loss"):
        super().__init__(metric)
        self.live: Any = None

    def __enter__(self) -> "TerminalProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes the moving line away."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def start(self, step: int, total: int) -> None:
        super().start(step, total)
        if can_move(sys.stderr):
            from rich.console import Console
            from rich.live import Live

            # What user code prints would tear the line: it goes above it, unless stdout leads elsewhere.
            self.live = Live(
                self,
                console=Console(stderr=True),
                refresh_per_second=5,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self.live.start(refresh=True)  # draws before its thread starts: two first lines would run into each other
            self.live.console.show_cursor()  # a process that is killed can't bring it back

    def row(self, row: dict[str, Any]) -> None:
        super().row(row)
        if row["split"] == "test":  # the last one
            self.close()

    def show(self, text: str) -> None:
        """Prints a line above the moving one."""
        if self.live is not None:
            self.live.console.print(safe(text), markup=False, highlight=False, soft_wrap=True)
        else:
            super().show(text)

    @property
    def width(self) -> int | None:
        return None if self.live is None else self.live.console.width - 1

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """The moving line: a bar where there is room for one, steps, speed, loss, metric, time left."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        speed = self.speed()
        parts = [(0, f"{self.step}/{self.total}"), *((4, text) for text in self._speed())]
        if self.timed is None:
            parts += [(1, "compiling")]
        if train := self.rows.get("train"):
            parts += [(3, f"train loss {number(train.get('loss'))}")]
        if val := self.rows.get("val"):
            parts += [(2, f"val {self._name} {number(val.get(self._name))}")]
        if speed and self.step < self.total:
            parts += [(1, f"{clock((self.total - self.step) / speed)} left")]
        width = options.max_width - 3  # the echo of Ctrl-C, ^C, must not wrap
        text = fitted(parts, width)
        room = min(width - len(text) - 2, 30)
        line = Table.grid(padding=(0, 2, 0, 0))
        bar = [ProgressBar(total=max(self.total, 1), completed=self.step, width=room)] if room >= 10 else []
        line.add_row(*bar, Text(text, no_wrap=True, overflow="crop"))
        yield line
