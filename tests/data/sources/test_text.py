"""Text: tokens that give the text back, rows that cover it, splits that share nothing, bits that compare."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.config import catalogue
from dlrun.config.settings import Splitting
from dlrun.data.batches import SPLITS
from dlrun.data.dataset import Dataset, cut
from dlrun.data.readers import tokens
from dlrun.data.readers.tokens import BytePairs, Bytes, Characters, tokeniser
from dlrun.data.sources.text import documents, text

KINDS = ("bytes", "characters", "bpe")
SMALL: dict[str, Any] = {"length": 8, "vocabulary": 300}
SAMPLE = "Größe und größer: 東京, 🙂.\n\tdef f(x):\r\n        return x\n" * 3


def folder(files: int = 12, name: str = "texts", seed: int = 0) -> str:
    """Files of words, some of them below another folder, and some that are not to be read."""
    random = np.random.default_rng(seed)
    for i in range(files):
        file = Path(name, "deep" if i % 3 else "", f"{chr(97 + i)}.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        words = random.choice(["def", "return", "größe", "x1", "\n", "    ", "東京"], random.integers(60, 200))
        file.write_text(f"# {i}\n" + " ".join(words))
    for other in ("notes.txt", ".hidden.py", ".git/config.py", "__pycache__/c.py", "empty.py"):
        Path(name, other).parent.mkdir(exist_ok=True)
        Path(name, other).write_text("" if other == "empty.py" else "not to be read " * 50)
    Path(name, "copy.py").write_bytes(Path(name, "a.py").read_bytes())
    return name


def stream(rows: Any) -> np.ndarray:
    """The tokens that rows were cut from."""
    return np.concatenate([rows.x.ravel(), rows.y[-1, -1:]])


def texts(data: Dataset) -> dict[str, bytes]:
    """What the rows of each split say."""
    made = tokeniser(data.facts["tokeniser"])
    return {name: made.decode(stream(getattr(data, name))) for name in SPLITS}


# Tokens


@settings(max_examples=100, deadline=None)
@given(training=st.text(min_size=1), other=st.text())
def test_characters_give_the_text_back_but_for_unknown_ones(training: str, other: str) -> None:
    made = Characters.fit([training.encode()])
    assert made.decode(made.encode([training.encode()])) == training.encode()
    numbers = made.encode([other.encode()])
    assert len(numbers) == len(other) == made.characters(numbers)
    assert made.decode(numbers).decode() == "".join(c if c in training else "\ufffd" for c in other)
    assert [n == made.vocabulary - 1 for n in numbers] == [c not in training for c in other]


@pytest.fixture(scope="module")
def pairs() -> BytePairs:
    return BytePairs.fit([SAMPLE.encode()], 290)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(), max_size=3))
def test_byte_pairs_give_every_text_back(pairs: BytePairs, texts: list[str]) -> None:
    numbers = pairs.encode([t.encode() for t in texts])
    whole = "".join(texts)
    assert pairs.decode(numbers) == whole.encode()
    assert pairs.characters(numbers) == len(whole)
    assert pairs.characters(np.stack([numbers, numbers])) == 2 * len(whole)


@settings(max_examples=100, deadline=None)
@given(text=st.text(), raw=st.binary())
def test_bytes_are_the_tokens(text: str, raw: bytes) -> None:
    for content in (text.encode(), raw):
        assert Bytes().decode(Bytes().encode([content])) == content
    assert Bytes().characters(Bytes().encode([text.encode()])) == len(text)
    assert Bytes(utf8=False).characters(Bytes().encode([raw])) == len(raw)


def test_facts_survive_json(pairs: BytePairs) -> None:
    for made in (pairs, Characters.fit([SAMPLE.encode()]), Bytes(), Bytes(utf8=False)):
        again = tokeniser(json.loads(json.dumps(made.facts())))
        numbers = made.encode([SAMPLE.encode(), b"other"])
        np.testing.assert_array_equal(again.encode([SAMPLE.encode(), b"other"]), numbers)
        assert numbers.dtype == again.encode([]).dtype
        assert again.decode(numbers) == made.decode(numbers)
        assert again.characters(numbers) == made.characters(numbers)
        assert numbers.max() < again.vocabulary == made.vocabulary


def test_learnt_pairs_are_the_same_each_time_and_make_text_short(pairs: BytePairs) -> None:
    assert BytePairs.fit([SAMPLE.encode()], 290).facts() == pairs.facts()
    assert pairs.vocabulary == 290
    assert len(pairs.encode([SAMPLE.encode()])) < 0.6 * len(SAMPLE.encode())
    assert BytePairs.fit([b"ab"], 300).vocabulary == 257, "nothing is left to merge"


# Rows


@pytest.mark.parametrize("kind", KINDS)
def test_rows_cover_the_text_and_ask_for_the_next_token(kind: Any) -> None:
    path = folder()
    data = text(path=path, tokens=kind, **SMALL)
    shares = {"val": 0.1, "test": 0.1}
    found = documents(path, pattern="*.py", max_bytes=None, shares=shares, seed=0)
    assert (data.kind, data.task, data.inputs.causal, data.inputs.shape) == ("tokens", "language_modelling", True, (8,))
    assert data.outputs == data.inputs.vocabulary == data.vocabulary
    for name, said in texts(data).items():
        rows, whole = getattr(data, name), b"".join(found[name].values())
        assert rows.x.shape == rows.y.shape == (len(rows), 8)
        assert rows.x.dtype == rows.y.dtype == (np.uint16 if kind == "bpe" else np.uint8)
        numbers = stream(rows)
        np.testing.assert_array_equal(rows.y.ravel(), numbers[1:])
        assert numbers.max() < data.vocabulary
        if kind != "characters":
            assert whole.startswith(said)
            left = tokeniser(data.facts["tokeniser"]).encode([whole])
            assert len(left) - len(numbers) < 8, "less than a row is left out"
        else:
            assert len(whole.decode()) - len(said.decode()) < 8
        asked = tokeniser(data.facts["tokeniser"]).decode(numbers[1:]) if kind != "bytes" else numbers[1:].tobytes()
        assert abs(rows.characters - len(asked.decode(errors="ignore"))) <= 1
        assert data.characters_per_token(name) == rows.characters / rows.y.size


def test_bits_per_character_compare_across_tokens() -> None:
    # Of the same text, as many characters whatever the tokens, but for the first one, which is not asked for.
    path = folder()
    data = [text(path=path, tokens=kind, length=1, vocabulary=300) for kind in KINDS]
    counts = [[getattr(d, s).characters for s in SPLITS] for d in data]
    for by_kind in zip(*counts, strict=True):
        assert by_kind[0] == by_kind[1] > 300
        assert 0 <= by_kind[0] - by_kind[2] < 10


def test_text_that_is_not_utf8_counts_bytes() -> None:
    Path("latin").write_bytes("Größe und größer ".encode("latin-1") * 20)
    data = text(path="latin", **SMALL)
    assert data.facts["tokeniser"] == {"kind": "bytes", "utf8": False}
    assert data.characters_per_token("train") == 1


# Splits


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3000), min_size=3, max_size=40),
    val=st.floats(0.01, 0.45),
    test=st.floats(0.01, 0.45),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_file_is_in_two_splits_and_none_is_lost(sizes: list[int], val: float, test: float, seed: int) -> None:
    from dlrun.data.sources.text import split_by_files

    files = {f"f{i}": bytes([i]) * size for i, size in enumerate(sizes)}
    found = split_by_files(files, {"val": val, "test": test}, None, seed)
    assert list(found) == list(SPLITS)
    assert sorted(name for split in found.values() for name in split) == sorted(files)
    assert all(list(split) == [name for name in files if name in split] for split in found.values())
    assert all(found.values())
    for name, share in (("val", val), ("test", test)):
        assert len(found[name]) == 1 or sum(map(len, found[name].values())) <= share * sum(sizes)
    assert found == split_by_files(files, {"val": val, "test": test}, None, seed)
    assert found["test"] == split_by_files(files, {"val": val / 2, "test": test}, None, seed)["test"]


def test_a_folder_is_split_by_files_without_copies_hidden_and_empty_ones() -> None:
    found = documents(folder(30), pattern="*.py", max_bytes=None, shares={"val": 0.2, "test": 0.2}, seed=0)
    names = [name for split in found.values() for name in split]
    expected = {f"{'deep/' if i % 3 else ''}{chr(97 + i)}.py" for i in range(30)}
    assert len(names) == len(set(names)) == 30
    assert set(names) | {"a.py", "copy.py"} == expected | {"a.py", "copy.py"}
    assert len({"a.py", "copy.py"} & set(names)) == 1
    sizes = {k: sum(map(len, v.values())) for k, v in found.items()}
    for name in ("val", "test"):
        assert 0.15 < sizes[name] / sum(sizes.values()) <= 0.2
    other = documents("texts", pattern="*.py", max_bytes=None, shares={"val": 0.2, "test": 0.2}, seed=1)
    assert found["test"].keys() != other["test"].keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_split_in_order_at_characters(kind: Any) -> None:
    whole = "".join(f"{i} größe 東京🙂\n" for i in range(150)).encode()
    Path("one.txt").write_bytes(whole)
    data = text(path="one.txt", tokens=kind, val=0.2, test=0.3, **SMALL)
    found = documents("one.txt", pattern="*.py", max_bytes=None, shares={"val": 0.2, "test": 0.3}, seed=0)
    assert b"".join(part[""] for part in found.values()) == whole
    for name, share in (("train", 0.5), ("val", 0.2), ("test", 0.3)):
        assert abs(len(found[name][""]) / len(whole) - share) < 0.01
        assert found[name][""].decode().encode().startswith(texts(data)[name])
    assert data.facts["text"]["test"]["bytes"] == len(found["test"][""])


def test_tokenisers_learn_from_training_text_alone() -> None:
    Path("one.txt").write_text("abcabc " * 200 + "xyz " * 100)
    data = text(path="one.txt", tokens="characters", val=0.15, test=0.15, **SMALL)
    assert data.facts["tokeniser"]["alphabet"] == " abc"
    assert (data.test.x == 4).mean() > 0.7, "unknown"
    data = text(path="one.txt", tokens="bpe", val=0.15, test=0.15, **SMALL)
    assert not [t for t in data.facts["tokeniser"]["model"]["model"]["vocab"] if "xy" in t]


def test_the_runner_leaves_the_splits_as_they_are() -> None:
    data = text(path=folder(), **SMALL)
    assert cut(data, Splitting(val=0.4, test=0.4)) == data
    json.dumps(data.preprocessing(), allow_nan=False)


def test_no_more_than_so_many_bytes() -> None:
    path = folder(30)
    data = text(path=path, max_bytes=5000, **SMALL)
    read = sum(split["bytes"] for split in data.facts["text"].values())
    assert 4000 < read <= 5000
    assert data.facts == text(path=path, max_bytes=5000, **SMALL).facts
    Path("one.txt").write_text("größe " * 500)
    for most in range(1000, 1008):
        facts = text(path="one.txt", tokens="characters", max_bytes=most, **SMALL).facts["text"]
        assert most - 1 <= sum(split["bytes"] for split in facts.values()) <= most


def test_the_order_does_not_depend_on_the_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder()
    expected = text(path=path, **SMALL)
    walk = os.walk

    def backwards(top: Path, **options: Any) -> Any:
        for where, folders, names in walk(top, **options):
            folders.sort(reverse=True)
            yield where, folders, sorted(names, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    found = text(path=path, **SMALL)
    assert found.facts == expected.facts
    for name in SPLITS:
        np.testing.assert_array_equal(getattr(found, name).x, getattr(expected, name).x)


def test_by_default_it_is_pythons_own_library() -> None:
    data = text(max_bytes=300_000)
    assert data.train.x.dtype == np.uint8
    found = documents(None, pattern="*.py", max_bytes=None, shares={"val": 0.1, "test": 0.1}, seed=0)
    names = {name for split in found.values() for name in split}
    assert {"os.py", "json/decoder.py", "asyncio/tasks.py"} <= names
    assert not [n for n in names if "site-packages" in n or "/test" in n or n.startswith("test/")]
    assert 3e6 < sum(len(t) for split in found.values() for t in split.values()) < 3e7
    assert 0.08 < sum(map(len, found["test"].values())) / sum(map(len, found["train"].values())) < 0.13


# The runner


def test_a_model_of_it_says_bits_per_character(dlrun: Callable) -> None:
    path = folder(30)
    words = ("model.width=8", "model.heads=2", "model.depth=1", "batch_size=16", "steps=20", "eval.every=20steps")
    done = dlrun("data=text", f"data.path={path}", "data.length=8", "data.tokens=bpe", "model=transformer", *words)
    assert done.code == 0, done.err
    data = text(path=path, tokens="bpe", length=8)
    for split in ("val", "test"):
        bits = done.summary[f"{split}/loss"] / np.log(2) / data.characters_per_token(split)
        assert done.summary[f"{split}/bits_per_character"] == pytest.approx(bits, rel=1e-4)
        assert 0 < bits < np.log2(data.vocabulary)
    kept = json.loads((done.directory / "data.json").read_text())
    assert kept["tokeniser"] == data.facts["tokeniser"]
    assert (kept["vocabulary"], kept["shape"], kept["task"]) == (data.vocabulary, [8], "language_modelling")


# What is wrong


def write(name: str, content: bytes) -> Callable[[], Any]:
    def make() -> None:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)

    return make


def few(count: int) -> Callable[[], Any]:
    def make() -> None:
        for i in range(count):
            write(f"t/{i}.py", b"x = %d\n" % i * 300)()

    return make


def latin() -> None:
    few(9)()
    write("t/y.py", b"ok " * 20 + b"\xff")()


WRONG: dict[str, tuple[Callable[[], Any], str, str]] = {
    "missing": (lambda: None, "data.path=t", "must name a file of text, or a folder of them: it does not exist"),
    "no folder": (lambda: None, "data.path=a/b.txt", "there is no folder a"),
    "empty folder": (lambda: Path("t").mkdir(), "data.path=t", "data.pattern=*.py: must match files below t: none"),
    "no match": (write("t/a.txt", b"x"), "data.path=t", "must match files below t: none does; there are 1 *.txt"),
    "two files": (few(2), "data.path=t", "data.path=t: must hold 3 files of text or more, which are split by files"),
    "empty file": (write("t", b""), "data.path=t", "data.path=t: must hold text: the file is empty"),
    "empty files": (write("t/a.py", b""), "data.path=t", "data.path=t: must hold 3 files of text or more"),
    "short": (write("t", b"x" * 100), "data.path=t", "for a row of 128 tokens and the next one in each split; train"),
    "short test": (write("t", b"x" * 600), "data.path=t", "in each split; val has 60 tokens"),
    "not UTF-8": (latin, "data.path=t data.tokens=characters", "in UTF-8 for tokens=characters: byte 60 of y.py"),
    "not UTF-8, one file": (write("t", b"\xff" * 999), "data.path=t data.tokens=bpe", "tokens=bpe: byte 0 of t"),
    "shares": (few(9), "data.path=t data.val=0.5 data.test=0.5", "data.val=0.5: must leave text for training beside"),
    "share": (few(9), "data.path=t data.val=0", "data.val=0: not allowed; allowed: a number in (0, 1)"),
    "tokens": (few(9), "data.path=t data.tokens=byte", "data.tokens=byte: not allowed (did you mean 'bytes'?)"),
    "vocabulary": (few(9), "data.path=t data.vocabulary=256", "data.vocabulary=256: not allowed"),
    "length": (few(9), "data.path=t data.length=0", "data.length=0: not allowed"),
    "too large a batch": (few(9), "data.path=t batch_size=1000", "batch_size=1000: not allowed; allowed: at most"),
    "no model of tokens": (few(9), "data.path=t model=mlp", "model.name=mlp: must be a model for 128 tokens"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_errors(case: str, dlrun: Callable, own_folder: Path) -> None:
    make, words, message = WRONG[case]
    make()
    before = sorted(own_folder.rglob("*"))
    model = [] if "model=" in words else ["model=transformer", "model.width=8", "model.heads=2", "model.depth=1"]
    done = dlrun("data=text", *model, *words.split())
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    assert message in done.err
    assert len(done.err) < 400
    assert sorted(own_folder.rglob("*")) == before


def test_byte_pairs_without_their_package(dlrun: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        tokens.importlib.util, "find_spec", lambda name, *a: None if name == "tokenizers" else find(name, *a)
    )
    done = dlrun("data=text", f"data.path={folder()}", "data.tokens=bpe", "model=transformer")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: data.tokens=bpe: must be bytes or characters, as the package tokenizers is not installed: pip "
        "install 'dlrun[text]'"
    ]


def test_compression_for_comparison() -> None:
    """What the documentation quotes beside a model's bits a character."""
    script = catalogue.conf().parent / "benchmarks/text_compression.py"
    words = [sys.executable, str(script), folder(), "*.py"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    lines = done.stdout.splitlines()
    found = documents("texts", pattern="*.py", max_bytes=None, shares={"val": 0.1, "test": 0.1}, seed=0)["test"]
    characters = len(b"".join(found.values()).decode())
    assert lines[0].startswith(f"{len(found)} test files, {characters} characters")
    assert [line.split("  ")[0] for line in lines[1:]] == ["gzip -9", "xz -9e", "xz -9e after the training text"]
    assert all(0 < float(line.split()[-4]) < 8 for line in lines[1:])
