"""Whatever is done to a file of a run, a sweep or a search: every command answers in time, and touches nothing else.

Each mutation is a pure function of its number. It changes one file or folder of a copy; then commands look at the copy,
and some go on with it. None may raise what nobody expected, wait longer than 10 seconds, write outside of the copy, or
lose a run or a result without a word.
"""

import json
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dlrun.cli.main import main
from dlrun.runs import manifest
from tests.conftest import Outcome
from tests.train.test_hostile_directories import WORDS

SECONDS = 10
TINY = ("model.widths=[8]", "log.plot=false", "epochs=2", "checkpoint.every=1epoch", "checkpoint.keep=2")
ODD: list[Any] = [
    None, True, -1, 3.5, 10**400, float("nan"), "", "x" * 300, "a\nb\x1b[31m", "../../elsewhere", [], {}, [1, [{}]],
    {"b": {"c": [1]}}, "1", 0,
]  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that completed, one that was killed, a sweep and a search, as their commands left them."""
    folder, before = tmp_path_factory.mktemp("sound"), Path.cwd()
    os.chdir(folder)
    try:
        for words in (
            [*TINY, "hydra.run.dir=run"],
            ["-m", *TINY, "seed=0,1", "hydra.sweep.dir=sweep"],
            ["-m", *TINY, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optim.lr=tag(log,interval(1e-4,1e-2))",
             "hydra.sweep.dir=search"],
        ):  # fmt: skip
            assert main(words) == 0
    finally:
        os.chdir(before)
    return with_killed(folder)


def with_killed(folder: Path) -> Path:
    """Adds to a folder with a completed run the same as if it had been killed."""
    killed = Path(shutil.copytree(folder / "run", folder / "killed"))
    last = manifest.steps(killed / "checkpoints")[-1]
    shutil.rmtree(killed / "checkpoints" / str(last))
    (killed / "summary.json").unlink()
    record = json.loads((killed / "run.json").read_text())
    (killed / "run.json").write_text(json.dumps({**record, "status": "running", "end": None}))
    return folder


def mutate(number: int, root: Path, elsewhere: Path) -> str:
    """Changes one thing below ``root``; tells what. ``elsewhere`` is a folder for what links lead to."""
    rng = random.Random(number)
    paths = sorted(root.rglob("*"))
    kinds = [flip, flip, flip, truncate, delete, swap, odd_value, odd_value, odd_value, link, link, pipe, folder, huge]
    kind = rng.choice([*kinds, deep, reseal, reseal, hard_link, foreign])
    for file in rng.sample(paths, len(paths)):
        if (how := kind(rng, file, elsewhere)) is not None:
            return f"{number}: {kind.__name__} {file.relative_to(root)} {how}"
    return f"{number}: nothing"


def flip(rng: random.Random, file: Path, _: Path) -> str | None:
    if not file.is_file() or not (data := bytearray(file.read_bytes())):
        return None
    at = [rng.randrange(len(data)) for _ in range(rng.choice([1, 1, 3]))]
    for i in at:
        data[i] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    return str(at)


def truncate(rng: random.Random, file: Path, _: Path) -> str | None:
    if not file.is_file():
        return None
    os.truncate(file, size := rng.randrange(file.stat().st_size + 1))
    return str(size)


def delete(rng: random.Random, file: Path, _: Path) -> str:
    shutil.rmtree(file) if file.is_dir() else file.unlink()
    return ""


def swap(rng: random.Random, file: Path, _: Path) -> str:
    """With another file or folder beside it, or with anything else."""
    others = [p for p in sorted(file.parent.iterdir()) if p != file] or [file]
    other, part = rng.choice(others), file.with_name("swapped")
    if other == file:
        return ""
    file.rename(part)
    other.rename(file)
    part.rename(other)
    return str(other.name)


def odd_value(rng: random.Random, file: Path, _: Path) -> str | None:
    """In JSON, instead of any value, or beside it."""
    if file.suffix not in (".json", ".jsonl"):
        return None
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    line = rng.randrange(len(lines))
    value = json.loads(lines[line])
    places = list(containers(value))
    place = rng.choice(places)
    key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
    odd = rng.choice(ODD)
    if isinstance(place, dict) and rng.randrange(4) == 0:
        del place[key]
    else:
        place[key] = odd
    lines[line] = json.dumps(value)
    file.write_text("".join(f"{text}\n" for text in lines))
    return f"{key} {str(odd)[:20]!r}"


def containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


def link(rng: random.Random, file: Path, elsewhere: Path) -> str:
    """To the same content outside, to nothing, or to itself."""
    outside = elsewhere / "kept"
    where = rng.choice([outside.absolute(), outside.absolute(), Path("nowhere"), Path(file.name), Path("/dev/zero")])
    if where == outside.absolute():
        shutil.move(file, outside)
    else:
        delete(rng, file, elsewhere)
    file.symlink_to(where)
    return str(where)


def hard_link(rng: random.Random, file: Path, elsewhere: Path) -> str | None:
    if not file.is_file():
        return None
    os.link(file, elsewhere / "linked")
    return ""


def pipe(rng: random.Random, file: Path, elsewhere: Path) -> str:
    delete(rng, file, elsewhere)
    os.mkfifo(file)
    return ""


def folder(rng: random.Random, file: Path, elsewhere: Path) -> str:
    delete(rng, file, elsewhere)
    (file / "notes").mkdir(parents=True)
    (file / "notes" / "mine.txt").write_text("mine")
    return ""


def huge(rng: random.Random, file: Path, _: Path) -> str | None:
    if not file.is_file() or file.suffix == ".safetensors":
        return None
    os.truncate(file, 8 << 30)
    return ""


def deep(rng: random.Random, file: Path, _: Path) -> str | None:
    if file.suffix not in (".json", ".jsonl"):
        return None
    n = rng.choice([50, 500, 900, 5000, 200_000])
    file.write_text('{"status": ' * n + "1" + "}" * n + "\n")
    return str(n)


def reseal(rng: random.Random, file: Path, _: Path) -> str | None:
    """A state of another content whose manifest is right."""
    if file.name != manifest.STATE:
        return None
    with safe_open(file, framework="np") as opened:
        metadata = dict(opened.metadata())
    arrays, how = load_file(file), rng.choice(["loop", "loop", "loop", "no loop", "arrays", "text", "step"])
    if how == "loop":
        loop = json.loads(metadata[manifest.LOOP])
        key = rng.choice(list(loop))
        loop[key] = rng.choice(ODD)
        metadata[manifest.LOOP] = rng.choice([json.dumps(loop), json.dumps(loop), "[" * rng.choice([9, 99_999])])
    elif how == "no loop":
        metadata = {}
    elif how == "arrays":
        arrays.pop(rng.choice(list(arrays)))
    if how == "text":
        file.write_text("no arrays")
    else:
        save_file(arrays, file, metadata)
    (file.parent / manifest.MANIFEST).write_text(manifest.manifest(file.parent))
    if how == "step":
        file.parent.rename(file.parent.with_name(str(rng.choice([1, 30, 999]))))
    return how


def foreign(rng: random.Random, file: Path, _: Path) -> str | None:
    """A folder of the user's own, and what a killed process left."""
    if not file.is_dir():
        return None
    (file / str(rng.choice([3, 40, 60]))).mkdir(exist_ok=True)
    for name in ("mine.txt", ".run.json.77", ".summary.json.12"):
        (file / name).write_text("x")
    return ""


def tree(where: Path, without: Path) -> dict[str, tuple[int, int, int]]:
    """Kind, size and time of everything in a folder, but what is at or below another one."""
    found = {}
    for path in sorted(where.rglob("*")):
        if without not in (path, *path.parents) and ".cache" not in path.parts:
            info = path.lstat()
            found[str(path)] = (info.st_mode, info.st_size, info.st_mtime_ns * (not path.is_dir()))
    return found


@contextmanager
def in_time(what: str) -> Iterator[None]:
    def hang(*_: Any) -> None:
        raise AssertionError(f"{what}: took longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rows(run: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl says, without the time."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in found]


def commands(number: int, target: str, often: int) -> list[list[str]]:
    """What is called for a mutation: all that read, and one time in ``often`` all that go on with it."""
    path = f"outputs/{target}"
    first = path if target in ("run", "killed") else f"{path}/0"
    look = [
        ["ls"], ["compare", "--group-by", "seed", "--metric", "val/loss"],
        ["compare", "--at", "max", "--format", "json"],
        ["show-run", first], ["diff", first, "other/run"], ["prune", "--keep", "best", "--unfinished"],
    ]  # fmt: skip
    if number % often:
        return look
    student = ["-m", "--dry-run", "loss=distillation", f"loss.teacher={first}", *TINY, "seed=0"]
    teacher = [student] if number % (8 * often) == 2 * often else []  # it is read as a whole, which takes a second
    best = [["--config-dir", path, "experiment=best", "--cfg", "job"]] if target == "search" else []
    return [*look, ["prune", "--keep", "last", "--delete"], *teacher, *best, ["resume", path], ["ls"]]


def endure(number: int, sound: Path, dlrun: Callable[..., Outcome], often: int = 5) -> None:
    target = random.Random(number).choice(sorted(path.name for path in sound.iterdir()))
    for name in ("outputs", "elsewhere", "other"):
        shutil.rmtree(name, ignore_errors=True)
    root = Path(shutil.copytree(sound / target, Path("outputs") / target))
    shutil.copytree(sound / "run", "other/run")
    Path("elsewhere").mkdir()
    runs = {str(file.parent) for file in root.rglob("metrics.jsonl")}
    said = f"{target} {mutate(number, root, Path('elsewhere'))}"
    runs = {run for run in runs if {"run.json", "metrics.jsonl"} & {p.name for p in Path(run).glob("*")}}
    for words in commands(number, target, often):
        what = f"{said}: dlrun {' '.join(words)}"
        looks = words[0] in ("ls", "compare", "show-run", "diff") or (words[0] == "prune" and "--delete" not in words)
        before = tree(Path(), Path("nothing") if looks else root)
        with in_time(what):
            try:
                outcome = dlrun("--debug", *words) if words[0] != "-m" else dlrun(*words, "--debug")
            except Exception as error:
                raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
        assert outcome.code in (0, 1, 2), what
        assert (outcome.code == 2) <= ("error: " in outcome.err), (what, outcome.err)
        assert "Traceback" not in outcome.err, (what, outcome.err)
        assert tree(Path(), Path("nothing") if looks else root) == before, what
        # A row in which one digit is another one can't be told from the file.
        rows_changed = re.search(r"(flip|odd_value) metrics\.jsonl", said)
        if words[0] == "resume" and target == "killed" and outcome.code == 0 and not rows_changed:
            assert "warning: " in outcome.err or rows(root) == rows(sound / "run"), (what, outcome.err)
        if words == ["ls"]:
            assert {run for run in runs if run not in outcome.out + outcome.err} == set(), (what, outcome.err)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def test_a_sample(finished, dlrun, tmp_path):
    shutil.copytree(finished(*WORDS).directory, tmp_path / "sound" / "run")
    with_killed(tmp_path / "sound")
    for number in range(60):
        endure(number, tmp_path / "sound", dlrun, often=30)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_a_thousand(part: int, sound, dlrun):
    for number in range(1000 + 100 * part, 1100 + 100 * part):
        endure(number, sound, dlrun)
