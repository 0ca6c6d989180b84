"""What a person sees of a sweep: one moving line on a terminal, failures as they happen, a table at the end."""

import logging
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlrun.display.progress import SILENCE, Progress
from dlrun.display.terminal import can_move
from dlrun.display.units import clock, fitted, number
from dlrun.errors import safe, tell
from dlrun.runs import files
from dlrun.runs.status import FAILED, WORST_FIRST

log = logging.getLogger(__name__)
ROWS = 40  # of the table at the end; sweep.json has them all


class SweepDisplay:
    """Keeps track of how far a sweep is, and shows it.

    Args:
      metric, mode: what the jobs are compared by, such as ``val/accuracy`` and ``max``.
    """

    def __init__(self, metric: str, mode: str):
        self.metric, self.mode = metric, mode
        self.expected = 0  # jobs of a search, which are not all known yet
        self.overrides: dict[int, Sequence[str]] = {}
        self.jobs: dict[int, str] = {}  # the overrides by which each job differs from others, as text
        self.steps: dict[int, tuple[int, int, int]] = {}  # the steps at which a job began, is, and ends
        self.statuses: dict[int, str] = {}
        self.best: dict[int, float] = {}
        self.warned: set[str] = set()
        self.live: Any = None
        self.began = self.reported = time.perf_counter()
        self.timed: tuple[int, float] | None = None  # steps taken by all jobs when the first was reported, and when

    def add(self, jobs: Mapping[int, Sequence[str]], statuses: Mapping[int, str]) -> None:
        """Adds jobs to the display.

        Args:
          jobs: their overrides by number.
          statuses: by number, of the jobs that were over before.
        """
        self.overrides |= jobs
        names = differing(self.overrides.values())
        for job, texts in self.overrides.items():
            self.jobs[job] = " ".join(_short(text) for text in texts if text.split("=")[0] in names)
        for job in jobs:
            self.statuses[job] = statuses.get(job, "pending")
            self.steps[job] = (0, 0, 0)

    def __enter__(self) -> "SweepDisplay":
        if can_move(sys.stderr):
            from rich.console import Console
            from rich.live import Live

            self.live = Live(self, console=Console(stderr=True), refresh_per_second=4, transient=True)
            self.live.start(refresh=True)
            self.live.console.show_cursor()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def note(self, text: str) -> None:
        """Prints a line."""
        if self.live is not None:
            self.live.console.print(safe(text), markup=False, highlight=False, soft_wrap=True)
        else:
            tell(text)

    def name(self, number: int) -> str:
        """A job's number, and what distinguishes it, for a person."""
        return f"job {number}: {self.jobs[number]}" if self.jobs.get(number) else f"job {number}"

    def warn(self, text: str) -> None:
        """Prints a warning, but only once for all jobs that have it."""
        if text not in self.warned:
            self.warned.add(text)
            self.note(f"warning: {text}")

    def job(self, number: int, log: Callable[[], Path | None]) -> "JobProgress":
        """The display of a job; ``log`` gives the log file that has details of it, if there is one."""
        return JobProgress(self, number, log)

    def failed(self, number: int, text: str, log: Path | None) -> None:
        """Prints at once that a job failed, and the log file that has details."""
        self.note(f"{self.name(number)}: {text}{see(log)}")

    def lengthened(self, number: int, total: int) -> None:
        """Sets at which step a job ends, before it starts."""
        first, now, _ = self.steps[number]
        self.steps[number] = (first, now, total)

    def started(self, number: int, step: int, total: int) -> None:
        """A job begins to train at ``step``, and will end at ``total``."""
        self.steps[number] = (step, step, total)
        self.statuses[number] = "running"

    def found(self, number: int, step: int) -> None:
        """A job that another process trains was at ``step`` when it was read for the first time."""
        self.steps[number] = (step, step, self.steps[number][2])

    def advance(self, number: int, step: int) -> None:
        """A job has come to a step."""
        first, _, last = self.steps[number]
        if step <= first:
            return
        self.steps[number] = (first, step, last)
        if self.timed is None:  # until now, the program was compiled
            self.timed = (self._taken(), time.perf_counter())

    def came_to(self, number: int, status: str) -> None:
        """A job has a new status: it runs, or it has ended."""
        self.statuses[number] = status
        if status == "running":
            return
        first, now, last = self.steps[number]
        end = now if now > first else last  # one that stopped early, or was given up, takes no further steps
        self.steps[number] = (first, end, end)
        self.tick()

    def tick(self) -> None:
        """Prints now and then how far the sweep is, where no terminal shows it all the time."""
        now = time.perf_counter()
        if self.live is None and now - self.reported > max(SILENCE, 0.05 * (now - self.began)):
            self.reported = now
            self.note(fitted(self.parts(), None))

    def better(self, a: float, b: float) -> bool:
        return a < b if self.mode == "min" else a > b

    def value(self, job: int, value: Any) -> None:
        """Takes a job's metric at an evaluation; ignores whatever is not a finite number."""
        if not isinstance(value, int | float) or not -math.inf < value < math.inf:
            return
        if job not in self.best or self.better(value, self.best[job]):
            self.best[job] = float(value)

    def table(self, seconds: Callable[[int], float | None]) -> str:
        """Jobs with status, best value and what distinguishes them: failures first, then the best ones."""
        sign = 1 if self.mode == "min" else -1
        order = sorted(
            self.jobs,
            key=lambda j: (WORST_FIRST.index(self.statuses[j]), sign * self.best.get(j, sign * float("inf")), j),
        )
        bad = [j for j in order if self.statuses[j] not in ("completed", "pruned")]
        order = [*bad[: max(ROWS // 2, ROWS - len(order) + len(bad))], *order[len(bad) :]][:ROWS]
        rows = [("job", "status", self.metric, "time", "")]
        for job in order:
            value, took = self.best.get(job), seconds(job)
            shown = "-" if value is None else number(value)
            rows.append((str(job), self.statuses[job], shown, "-" if took is None else _time(took), self.jobs[job]))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        right = (0, 2, 3)
        lines = [
            "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, c, w in zip(range(5), row, widths, strict=True))
            for row in rows
        ]
        width = self.live.console.width if self.live is not None else None
        lines = [line.rstrip()[:width] for line in lines]
        if len(order) < len(self.jobs):
            lines.append(f"... {len(order)} of {len(self.jobs)} jobs; sweep.json has all")
        return "\n".join(lines)

    def _best(self, n: int, jobs: list[int]) -> list[int]:
        sign = 1 if self.mode == "min" else -1
        known = sorted((j for j in jobs if j in self.best), key=lambda j: sign * self.best[j])
        return known[:n]

    def parts(self) -> list[tuple[int, str]]:
        """What the line says, each part with its rank: those of the largest are left out first on a narrow terminal."""
        counts = Counter(self.statuses.values())
        over = len(self.jobs) - counts["pending"] - counts["running"]
        parts = [(0, f"{over}/{max(self.expected, len(self.jobs))} jobs done")]
        if counts["running"]:
            parts.append((3, f"{counts['running']} running"))
            running = [self.steps[job] for job, status in self.statuses.items() if status == "running"]
            if all(now <= first for first, now, _ in running):
                parts.append((1, "compiling"))
        parts += [(1, f"{counts[s]} {s}") for s in (*FAILED, "pruned") if counts[s]]
        if (left := self.seconds_left()) is not None:
            parts.append((1, f"{clock(left)} left"))
        if self.best:
            job = self._best(1, list(self.best))[0]
            name = self.metric.split("/")[-1]
            parts += [(2, f"best {name} {number(self.best[job])}"), (4, f"(job {job}: {self.jobs[job]})")]
        return parts

    def seconds_left(self) -> float | None:
        """Seconds until the end, by the speed since the first steps, whose time went into compiling."""
        if self.timed is None:
            return None
        taken, seconds = self._taken() - self.timed[0], time.perf_counter() - self.timed[1]
        to_take = sum(last - now for _, now, last in self.steps.values()) + self._to_come()
        return seconds * to_take / taken if taken and to_take and seconds > 1 else None

    def _taken(self) -> int:
        return sum(now - first for first, now, _ in self.steps.values())

    def _to_come(self) -> float:
        """An estimate of the steps of jobs that a search has not chosen yet: as many as the others have on average."""
        unknown, lengths = self.expected - len(self.jobs), [last for _, _, last in self.steps.values() if last]
        return unknown * sum(lengths) / len(lengths) if unknown > 0 and lengths else 0

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        width = options.max_width - 3
        text = fitted(self.parts(), width)
        room = min(width - len(text) - 2, 30)
        taken, total = (sum(s[i] for s in self.steps.values()) for i in (1, 2))
        total += self._to_come()
        line = Table.grid(padding=(0, 2, 0, 0))
        bar = [ProgressBar(total=max(total, 1), completed=taken, width=room)] if room >= 10 else []
        line.add_row(*bar, Text(text, no_wrap=True, overflow="crop"))
        yield line


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)


class JobProgress(Progress):
    """The display of one job, as part of the sweep's. All lines go to the job's log.txt, only some to the person."""

    def __init__(self, display: SweepDisplay, number: int, log: Callable[[], Path | None]):
        super().__init__(display.metric)
        self.display, self.number, self.log = display, number, log

    def start(self, step: int, total: int) -> None:
        super().start(step, total)
        self.display.started(self.number, step, total)

    def advance(self, step: int, epoch: float) -> None:
        super().advance(step, epoch)
        if self.display.statuses[self.number] == "running":  # a run that ended may stay in its stack for a while
            self.display.advance(self.number, step)
        self.display.tick()

    def row(self, row: dict[str, Any]) -> None:
        if row["split"] == "val" and "nonfinite" not in row:
            self.display.value(self.number, row.get(self._name))
        super().row(row)

    def tell(self, text: str, shown: str | None = None) -> None:
        log.info("%s", text)

    def note(self, text: str) -> None:
        log.info("%s", text)
        if text.startswith(FAILED):
            self.display.failed(self.number, text, self.log())
        elif not text.startswith(("pruned", "stopped")):  # there are many of these, and the table at the end has them
            self.display.note(f"{self.display.name(self.number)}: {text}")

    def warn(self, text: str) -> None:
        log.warning("%s", text)
        self.display.warn(text)


def see(file: Path | None) -> str:
    """Words that refer to a log, if the file exists and is not empty."""
    return f"; see {file}" if file is not None and files.kind(file) == "file" and file.lstat().st_size else ""


def _short(text: str) -> str:
    """An override for people: a number of many digits, as a search chooses it, is cut to four."""
    key, _, value = text.partition("=")
    return f"{key}={float(value):.4g}" if re.fullmatch(r"-?\d+\.\d{6,}(e-?\d+)?", value) else text


def differing(jobs: Iterable[Sequence[str]]) -> set[str]:
    """The keys, as typed, whose overrides are not the same for all jobs. ``jobs`` has the overrides of each."""
    texts = [set(overrides) for overrides in jobs]
    shared = set.intersection(*texts) if texts else set()
    return {text.split("=")[0] for some in texts for text in some - shared}
