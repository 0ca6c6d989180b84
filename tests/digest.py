"""What must be the same, bit for bit, in two runs that are said to be equal."""

import hashlib
import json
from pathlib import Path

from dlrun.runs import checkpoint, manifest

TIMES = ("time", "seconds")


def digest(directory: Path) -> str:
    """SHA-256 over all arrays and plain values of the last state, and all metric rows and the summary, times aside."""
    folder = directory / "checkpoints"
    arrays, loop = checkpoint.read(folder, manifest.sound(folder)[-1])
    sha = hashlib.sha256()
    for path, array in sorted(arrays.items()):
        sha.update(f"{path} {array.dtype} {array.shape}".encode() + array.tobytes())
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    for values in [loop, *rows, json.loads((directory / "summary.json").read_text())]:
        sha.update(json.dumps({k: v for k, v in sorted(values.items()) if k not in TIMES}).encode())
    return sha.hexdigest()
