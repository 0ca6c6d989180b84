"""Writes a file as a whole or not at all, and reads JSON that may be damaged."""

import json
import os
import re
from pathlib import Path
from typing import Any


def write(file: Path, text: str) -> None:
    """Replaces a file so that a reader finds either the whole old text or the whole new one, whatever happens."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        # The name of a file may be bytes that are not text; JSON then holds them escaped.
        with part.open("w", encoding="utf-8", errors="backslashreplace") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(file: Path, value: Any) -> None:
    """Writes a JSON object atomically; numbers that are not finite become null."""
    text = json.dumps(jsonable(value), indent=2, ensure_ascii=False)
    # Puts each list of numbers on one line.
    text = re.sub(r'\[\n[^\[\]{}"]*\]', lambda m: " ".join(m[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
    write(file, text + "\n")


def read_json(file: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if the file is missing, damaged, or holds something else."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def jsonable(value: Any) -> Any:
    """Plain values as they are written to JSON: a number that is not finite becomes None, a tuple a list."""
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
