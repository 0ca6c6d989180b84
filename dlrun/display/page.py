"""Prints a page of lines: wrapped and coloured on a terminal; in a pipe each line stays whole, however long it is."""

import io
import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from dlrun.errors import printable
from dlrun.runs.status import FAILED

Part = str | tuple[str, str]
"""A piece of text, or a pair of text and style."""


def style(status: str) -> str:
    """The colour of a status; yellow for runs that were cut short."""
    if status in (*FAILED, "damaged"):
        return "red"
    return {"completed": "green", "running": "cyan"}.get(status, "yellow")


class Page:
    """Prints on stdout.

    Args:
      indent: columns that the label of a line takes.
    """

    def __init__(self, indent: int = 2):
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        self.console, self.indent = Console(highlight=False), indent
        self.unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
        self.width = max(self.console.width, indent + 20) if self.console.is_terminal else None

    def line(self, label: str, parts: Iterable[Part], *, join: str = "  ", style: str = "") -> None:
        """Prints a label and parts side by side; what does not fit goes on the next line, indented below the first."""
        drawn = Text(f"{self.encodable(label):<{self.indent}}", style)
        margin, first = len(drawn), True
        column = margin
        for text, look in (part if isinstance(part, tuple) else (part, "") for part in parts):
            text = self.encodable(text)
            if not first:
                drawn.append(join.rstrip() if self.exceeds(column + len(join) + len(text)) else join)
                column += len(join)
            if not first and self.exceeds(column + len(text)):
                drawn.append("\n" + " " * margin)
                column = margin
            drawn.append(text, look)
            column, first = column + len(text), False
        self.text(drawn)

    def exceeds(self, columns: int) -> bool:
        """Whether a line of this many columns does not fit the terminal."""
        return self.width is not None and columns > self.width

    def encodable(self, text: str) -> str:
        """``text`` in characters that stdout can encode, without those that move the cursor or change colours."""
        return printable(text if self.unicode else text.replace("→", "->").replace("…", "..."))

    def title(self, text: str) -> None:
        self.text(Text(f"\n{text}", "bold"))

    def text(self, text: Text) -> None:
        text.rstrip()
        self.console.print(text, soft_wrap=True)


def print_json(value: Any) -> None:
    """Prints plain values as JSON; numbers that are not finite become null."""
    finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
    print(json.dumps(finite, indent=2))
