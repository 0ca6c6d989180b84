"""Text, for models that are to predict the next token."""

import codecs
import contextlib
import fnmatch
import hashlib
import math
import os
import sysconfig
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from dlrun.config.schema import Count
from dlrun.config.settings import Text
from dlrun.data import lazy
from dlrun.data.dataset import Dataset, Rows
from dlrun.data.readers import files
from dlrun.data.readers.tokens import BytePairs, Bytes, Characters, Tokeniser
from dlrun.display.units import counted
from dlrun.errors import Unfit

PART = "data.max_bytes reads a part"
WHAT = "a file of text, or a folder of them"
Share = Annotated[float, Field(gt=0, lt=1)]
LEFT_OUT = {
    *("site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "distutils"),
    *("ensurepip", "pydoc_data", "_sysconfigdata_*", "sitecustomize.py", "encodings"),
}
"""Left out of Python's library: what depends on how it was installed, tests, and tables that are nearly copies."""


def text(
    *,
    path: Text | None = None,
    pattern: Text = "*.py",
    tokens: Literal["bytes", "characters", "bpe"] = "bytes",
    vocabulary: Annotated[int, Field(ge=257, le=65536)] = 4096,
    length: Count = 128,
    max_bytes: Count | None = None,
    val: Share = 0.1,
    test: Share = 0.1,
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0,
) -> Dataset:
    """Rows of ``length`` tokens, cut one after the other from text; the target at each position is the next token.

    No file, and no part of a file, is in two splits. Tokenisers learn from training text alone.

    Args:
      path: a file, whose beginning is for training, middle for validation and end for testing; or a folder, whose files
        are divided among the splits. By default the sources of Python's own library, without tests.
      pattern: matches the names of files to read below a folder; hidden files and copies are left out.
      tokens: ``bytes``; ``characters``, where one token stands for all that training text does not have; or ``bpe``,
        byte-pair encoding into frequent words and parts of words (pip install 'dlrun[text]').
      vocabulary: how many tokens ``bpe`` has.
      length: tokens in a row.
      max_bytes: how much to read at most: the beginning of a file, or whole files chosen at random.
      val, test: shares of the bytes for validation and testing.
      seed: decides which files are read, if not all, and which are in which split.
    """
    if val + test >= 1:
        raise Unfit("val", val, f"leave text for training beside data.test={test:g}")
    splits = documents(path, pattern=pattern, max_bytes=max_bytes, shares={"val": val, "test": test}, seed=seed)
    tokeniser = _tokeniser(tokens, vocabulary, splits, path)
    rows = {}
    for name, texts in splits.items():
        stream = tokeniser.encode(list(texts.values()))
        count = (len(stream) - 1) // length
        if count < 1:
            need = f"text for a row of {length} tokens and the next one in each split; {name} has {len(stream)} tokens"
            raise Unfit("path", path, f"hold {need}")
        x, y = (stream[start : start + count * length].reshape(count, length) for start in (0, 1))
        rows[name] = Rows(x, y, tokeniser.characters(y))
    facts: dict[str, Any] = {"tokeniser": tokeniser.facts(), "text": {k: _facts(texts) for k, texts in splits.items()}}
    return Dataset("tokens", (), **rows, task="language_modelling", vocabulary=tokeniser.vocabulary, facts=facts)


def documents(
    path: str | None, *, pattern: str, max_bytes: int | None, shares: dict[str, float], seed: int
) -> dict[str, dict[str, bytes]]:
    """For each split (``train`` and the keys of ``shares``), its texts by their path in the folder; '' for a file."""
    place = Path(sysconfig.get_path("stdlib")) if path is None else files.named(path, WHAT)
    try:
        if place.is_dir():
            listed = _below(place, pattern, LEFT_OUT if path is None else set())
            return split_by_files(_read(listed, path, pattern, max_bytes, seed), shares, path, seed)
        lazy.require_room(min(place.stat().st_size, max_bytes or math.inf), place.name, PART)
        with open(place, "rb") as file:
            content = file.read() if max_bytes is None else _whole(file.read(max_bytes))
        return _split_in_order(content, shares, path)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Unfit("path", path, f"be {WHAT}, that can be read: {where}{files.reason(error)}") from None


def _below(folder: Path, pattern: str, left_out: set[str]) -> dict[str, Path]:
    """The files below a folder that match ``pattern``, by their path in it, in the same order on every machine."""
    files_below, others = {}, Counter()
    for where, folders, names in os.walk(folder, onerror=_fail):
        folders[:] = [name for name in folders if not _skipped(name, left_out)]
        for name in names:
            file = Path(where, name)
            if _skipped(name, left_out) or not file.is_file():
                continue
            if fnmatch.fnmatchcase(name, pattern):
                files_below[file.relative_to(folder).as_posix()] = file
            else:
                others[f"*{file.suffix}"] += 1
    if not files_below:
        there = f"; there are {others.most_common(1)[0][1]} {others.most_common(1)[0][0]}" if others else ""
        raise Unfit("pattern", pattern, f"match files below {folder}: none does{there}")
    return dict(sorted(files_below.items()))


def _fail(error: OSError) -> None:
    raise error


def _skipped(name: str, left_out: set[str]) -> bool:
    return name.startswith(".") or name == "__pycache__" or any(fnmatch.fnmatchcase(name, p) for p in left_out)


def _read(listed: dict[str, Path], path: str | None, pattern: str, most: int | None, seed: int) -> dict[str, bytes]:
    """The contents of files, without empty ones and copies; of random ones if all have over ``most`` bytes."""
    order = list(listed) if most is None else _shuffled(listed, seed)
    whole = sum(file.stat().st_size for file in listed.values())
    lazy.require_room(min(whole, most or math.inf), f"text of {counted(len(listed), 'file')}", PART)
    texts, seen, size = {}, set(), 0
    for name in order:
        if most is not None and size + listed[name].stat().st_size > most:
            continue
        content = listed[name].read_bytes()
        digest = hashlib.sha256(content).digest()
        if content and digest not in seen and (most is None or size + len(content) <= most):
            texts[name], size = content, size + len(content)
            seen.add(digest)
    return {name: texts[name] for name in listed if name in texts}


def split_by_files(
    texts: dict[str, bytes], shares: dict[str, float], path: str | None, seed: int
) -> dict[str, dict[str, bytes]]:
    """Divides texts among splits: each gets random texts that fit into its share of the bytes, but at least one."""
    left, total = _shuffled(texts, seed), sum(map(len, texts.values()))
    if len(left) <= len(shares):
        raise Unfit("path", path, f"hold {len(shares) + 1} files of text or more, which are split by files")
    chosen: dict[str, set[str]] = {}
    for split in reversed(shares):  # test first, so that it does not depend on the size of val
        free, fitting = shares[split] * total, []
        for name in left:
            if len(texts[name]) <= free:
                fitting.append(name)
                free -= len(texts[name])
        others = len(shares) - len(chosen)  # splits that still need a file
        chosen[split] = set(fitting[: len(left) - others] or [min(left, key=lambda name: len(texts[name]))])
        left = [name for name in left if name not in chosen[split]]
    chosen["train"] = set(left)
    return {k: {n: t for n, t in texts.items() if n in chosen[k]} for k in ("train", *shares)}


def _split_in_order(content: bytes, shares: dict[str, float], path: str | None) -> dict[str, dict[str, bytes]]:
    """Cuts one text into splits, in order: training first, then those of ``shares``."""
    if not content:
        raise Unfit("path", path, "hold text: the file is empty")
    ends = np.cumsum([1 - sum(shares.values()), *shares.values()])
    cuts = [0, *(_at_character(content, round(end * len(content))) for end in ends[:-1]), len(content)]
    return {k: {"": content[a:b]} for k, (a, b) in zip(("train", *shares), pairwise(cuts), strict=True)}


def _whole(content: bytes) -> bytes:
    """Removes an incomplete character of UTF-8 at the end."""
    with contextlib.suppress(UnicodeDecodeError):
        return codecs.getincrementaldecoder("utf-8")().decode(content).encode()
    return content


def _at_character(content: bytes, at: int) -> int:
    """The first place from ``at`` on where a character of UTF-8 begins; ``at`` if none does within three bytes."""
    return next((i for i in range(at, min(at + 4, len(content))) if content[i] & 0xC0 != 0x80), at)


def _shuffled(names: Any, seed: int) -> list[str]:
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(names))
    listed = list(names)
    return [listed[i] for i in order]


def _tokeniser(kind: str, vocabulary: int, splits: dict[str, dict[str, bytes]], path: str | None) -> Tokeniser:
    training = list(splits["train"].values())
    if kind == "bytes":
        return Bytes.fit([t for texts in splits.values() for t in texts.values()])
    for texts in splits.values():
        for name, content in texts.items():
            try:
                content.decode()
            except UnicodeDecodeError as error:
                where = f"byte {error.start} of {name or path} is not"
                raise Unfit(
                    "path", path, f"hold text in UTF-8 for tokens={kind}: {where}; tokens=bytes takes any file"
                ) from None
    if kind == "characters":
        return Characters.fit(training)
    if not BytePairs.installed():
        raise Unfit(
            "tokens",
            kind,
            "be bytes or characters, as the package tokenizers is not installed: pip install 'dlrun[text]'",
        )
    return BytePairs.fit(training, vocabulary)


def _facts(texts: dict[str, bytes]) -> dict[str, Any]:
    """Identifies a split's text, to tell whether two runs had the same."""
    content = b"".join(texts.values())
    return {"files": len(texts), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
