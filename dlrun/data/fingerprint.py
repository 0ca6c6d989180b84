"""Tells whether data is still the same: a small record identifies the rows of each split, and changes are described.

The record is made from rows as they were loaded and split, before they are encoded or standardised. Their order counts,
as the order of batches depends on it.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from dlrun.data import lazy

By = Literal["files", "content"]
MAPPED_BYTES = 2**31
"""An array that is mapped from a file and larger than this is identified by the file, unless ``by`` is content."""
FEW = 100
"""How many random rows identify a split whose rows are decoded one by one, but from files that are not known."""
OBJECT_ROWS = 10_000  # rows of objects read at a time
NEAR = 1e-3
"""Standard deviations by which a mean or standard deviation may differ: versions of libraries round differently."""
PREPARED = ("kind", "task", "shape", "vocabulary", "tokeniser", "encoder", "white", "background")
"""Keys of data.json, beside means and standard deviations, that say how a row becomes an input."""


def fingerprint(splits: Mapping[str, Any], by: By) -> dict[str, Any]:
    """For each split, how many rows it has, and digests of their inputs and of their targets.

    Args:
      splits: rows with ``x`` and ``y``, by the name of the split.
      by: what identifies inputs that are not in memory: the names, sizes and times of their files (``files``), or their
        whole content (``content``).
    """
    return {
        name: {"rows": len(rows), "x": digest(rows.x, by), "y": digest(rows.y, "content")}
        for name, rows in splits.items()
    }


def digest(x: Any, by: By) -> str:
    """Identifies rows: ``sha256:…`` by their content, ``files:…`` by their files, ``sample:…`` by some of the rows."""
    sha = hashlib.sha256(f"{x.dtype} {x.shape}".encode())
    base = x.base if isinstance(x, lazy.Subset) else x
    paths = getattr(base, "files", None)  # only an array that decodes files has this
    if paths is not None:
        paths = paths[x.rows] if base is not x else paths
        _add_files(sha, list(map(str, paths)), by)
    elif by == "files" and isinstance(base, np.memmap) and base.filename and base.nbytes > MAPPED_BYTES:
        _add_files(sha, [str(base.filename)], by)
        sha.update(x.rows.tobytes() if base is not x else b"")
    elif by == "files" and lazy.decoded(x):
        _add_rows(sha, lazy.draw(x, min(FEW, len(x))))
        return f"sample:{sha.hexdigest()}"
    else:
        _add_rows(sha, x)
        by = "content"
    return f"{'files' if by == 'files' else 'sha256'}:{sha.hexdigest()}"


def _add_rows(sha: Any, x: Any) -> None:
    if x.dtype == object:
        for start in range(0, len(x), OBJECT_ROWS):
            for column in x[start : start + OBJECT_ROWS].reshape(min(OBJECT_ROWS, len(x) - start), -1).T:
                numbers = set(map(type, column)) == {float}  # ten times as fast to hash as their text
                sha.update(column.astype(np.float64).data if numbers else repr(column.tolist()).encode())
        return
    for piece in lazy.pieces(x):
        sha.update(np.ascontiguousarray(x[piece]).data)


def _add_files(sha: Any, paths: list[str], by: By) -> None:
    """Adds files to a digest, by their paths below their common folder, so that this folder may move, or by content."""
    start = len(os.path.commonpath([os.path.dirname(min(paths)), os.path.dirname(max(paths))]))
    for path in paths:
        if by == "files":
            status = os.stat(path)
            sha.update(f"{path[start:]} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        else:
            with open(path, "rb") as file:
                sha.update(hashlib.file_digest(file, "sha256").digest())


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What changed in the data between two runs' data.json, in words; keys that only one of them has are ignored."""
    changed = [
        f"{key} was {before[key]}, is {now[key]}"
        for key in ("kind", "task", "shape", "vocabulary")
        if key in before and key in now and before[key] != now[key]
    ]
    changed += _of_names("class", "classes", before.get("classes"), now.get("classes"))
    changed += _of_names("column", "columns", _columns(before), _columns(now))
    old, new = before.get("fingerprint", {}), now.get("fingerprint", {})
    both = [split for split in old if split in new]
    rows = [s for s in both if old[s]["rows"] != new[s]["rows"]]
    changed += [f"{split} {old[split]['rows']:,} rows, now {new[split]['rows']:,}" for split in rows]
    for part, name in (("x", "inputs"), ("y", "targets")):
        others = [s for s in both if s not in rows and part in old[s] and old[s][part] != new[s].get(part)]
        if others:
            by_files = all(str(old[s][part]).startswith("files:") for s in others)
            changed.append(f"{name} of {', '.join(others)}" + (" (names, sizes or times of files)" if by_files else ""))
    return changed or [f"{k} is computed differently" for k in _prepared_otherwise(before, now)]


def changed_since(changed: list[str]) -> str:
    """The changes as a sentence, for errors."""
    return f"the data changed since this was started: {'; '.join(changed)}"


def _of_names(one: str, several: str, old: list[str] | None, new: list[str] | None) -> Iterable[str]:
    """Says which names of classes or columns are new or gone, or that they are in another order."""
    if old is None or new is None or list(old) == list(new):
        return
    for word, some in (("new", [c for c in new if c not in set(old)]), ("gone", [c for c in old if c not in set(new)])):
        if some:
            shown = ", ".join(map(repr, some[:3])) + (f" and {len(some) - 3} more" if len(some) > 3 else "")
            yield f"{one} {shown} is {word}" if len(some) == 1 else f"{several} {shown} are {word}"
    if sorted(old) == sorted(new):
        yield f"{several} are in another order"


def _columns(data: Mapping[str, Any]) -> list[str] | None:
    """The names of a table's columns."""
    encoder = data.get("encoder")
    columns = encoder.get("columns") if isinstance(encoder, dict) else None
    return [str(column["name"]) for column in columns if "name" in column] if columns else None


def _prepared_otherwise(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    """Keys of data.json that differ, so that equal rows become different inputs; another version may do this."""
    for key in PREPARED:
        if key in before and key in now and not _same(before[key], now[key]):
            yield key
    for name in ("input", "target"):
        keys = f"{name}_mean", f"{name}_std"
        if not all(key in part for key in keys for part in (before, now)):
            continue
        (mean, std), (mean_now, std_now) = ([np.array(p[k], np.float64) for k in keys] for p in (before, now))
        for key, a, b in zip(keys, (mean, std), (mean_now, std_now), strict=True):
            if a.shape != b.shape or not (np.abs(a - b) <= NEAR * std).all():
                yield key


def _same(a: Any, b: Any) -> bool:
    """Whether plain values are equal in all keys that both have, as a newer version may have added keys."""
    if isinstance(a, dict) and isinstance(b, dict):
        return all(_same(a[key], b[key]) for key in a if key in b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b
