"""What a person sees on stderr while a run goes on: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any


class Progress:
    """How far a run is.

    Args:
      metric: the validation metric to show, such as ``val/accuracy``.
    """

    def __init__(self, metric: str = "val/loss"):
        self.metric = metric
        self.bar: Any = None
        self.shown: dict[str, float] = {}

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def start(self, step: int, total: int) -> None:
        """The run stands at ``step`` of ``total``."""
        self.total, self.first, self.began = total, step, time.perf_counter()
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = ("{task.completed}/{task.total} steps", "{task.fields[speed]}", "{task.fields[metrics]}")
            self.bar = Progress(
                BarColumn(bar_width=24), *map(TextColumn, columns), TimeRemainingColumn(), console=Console(stderr=True)
            )
            self.task = self.bar.add_task("", total=total, completed=step, speed="", metrics="compiling")
            self.bar.start()

    def advance(self, step: int, epoch: float) -> None:
        """The run has come to ``step``."""
        self.step, self.epoch = step, epoch
        if self.first == step or self.bar is None:
            return
        self.bar.update(self.task, completed=step, speed=self.speed(), metrics=self.metrics())

    def speed(self) -> str:
        """Steps per second since the start."""
        seconds = time.perf_counter() - self.began
        return f"{(self.step - self.first) / max(seconds, 1e-9):.4g} steps/s"

    def metrics(self) -> str:
        return "  ".join(f"{k} {v:.4f}" for k, v in self.shown.items())

    def row(self, row: dict[str, Any]) -> None:
        """A row of metrics was written."""
        for name in ("loss", self.metric.split("/")[1]):
            if name in row:
                self.shown[f"{row['split']}/{name}"] = row[name]
        if self.bar is None and row["split"] != "train":
            shown = "  ".join(f"{k} {v:.4f}" for k, v in self.shown.items() if k.startswith((row["split"], "train/loss")))
            self.note(f"step {row['step']}/{self.total}  epoch {row['epoch']:g}  {shown}  {self.speed()}")

    def note(self, text: str) -> None:
        """A line for the person."""
        if self.bar is not None:
            self.bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """A line that the person should not miss."""
        self.note(f"warning: {text}")
