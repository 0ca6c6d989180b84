"""Writes a file as a whole or not at all, and reads JSON that may be damaged."""

import json
import re
from pathlib import Path
from typing import Any

from dlrun.runs import files

DEEPEST = 64
"""How deep lists and objects of JSON may be nested: dlrun writes 6 levels, a configuration of one's own some more."""


def write(file: Path, text: str, *, below: Path | None = None, durable: bool = True) -> None:
    """Replaces a file by a text; see :func:`dlrun.runs.files.replace`."""
    # The name of a file may be bytes that are not text; JSON then holds them escaped.
    files.replace(file, [text.encode("utf-8", errors="backslashreplace")], below=below, durable=durable)


def write_json(file: Path, value: Any) -> None:
    """Writes a JSON object atomically; numbers that are not finite become null."""
    text = json.dumps(jsonable(value), indent=2, ensure_ascii=False)
    # Puts each list of numbers on one line.
    text = re.sub(r'\[\n[^\[\]{}"]*\]', lambda m: " ".join(m[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
    write(file, text + "\n")


def read_json(file: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if the file is missing, damaged, or holds something else."""
    try:
        value = parsed(files.read(file))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def parsed(text: bytes) -> Any:
    """The value of a JSON text; raises ValueError if that is damaged, or nested deeper than :data:`DEEPEST`."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if text.count(b"{") + text.count(b"[") <= DEEPEST:  # as in most files: there is nothing to look for
        return value
    level = _inside([value])
    for _ in range(DEEPEST):
        level = [v for node in level for v in _inside(node)]
        if not level:
            return value
    raise ValueError("nested too deeply")


def _inside(node: Any) -> list[Any]:
    """The lists and dictionaries in a list or dictionary."""
    return [v for v in (node.values() if isinstance(node, dict) else node) if isinstance(v, dict | list)]


def jsonable(value: Any) -> Any:
    """Plain values as they are written to JSON: a number that is not finite becomes None, a tuple a list."""
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
