"""Files of run directories are opened in one way, which no link, pipe or size gets the better of."""

import ast
import os
import socket
from pathlib import Path

import pytest

import dlrun
from dlrun.errors import InvalidConfig
from dlrun.runs import atomic, files, rundir

ROOT = Path(dlrun.__file__).parent
ROOMS = ("runs", "train", "sweep", "compare", "cli", "display")
"""The folders whose modules open files of run directories."""
OPENS = {
    "open", "read_text", "read_bytes", "write_text", "write_bytes", "touch", "unlink", "rename", "replace", "remove",
    "rmtree", "copy", "copy2", "copyfile", "copytree", "move", "truncate", "symlink_to", "hardlink_to", "FileHandler",
    "savefig", "connect", "save_file", "safe_open", "symlink", "link", "rmdir", "removedirs", "renames",
}  # fmt: skip
"""Names of functions and methods that open, make, move or delete a file or a folder by its path."""
ALSO_OTHERS = {"open", "replace", "copy", "remove", "link", "connect", "move", "truncate"}
"""Those that are also methods of others than paths."""
MODULES = {"os", "io", "shutil", "sqlite3", "logging"}
OTHERWISE = {
    "runs.files": "it is the one way",
    "runs.cache": "a database in the user's cache folder",
    "compare.report": "the page's own scripts, which are part of dlrun",
    "cli.help": "the user's own options",
    "display.streams": "the terminal, by its descriptors, and /dev/null",
    "sweep.search.study": "a database, whose files are looked at before",
    "runs.checkpoint": "arrays by safetensors, into a folder that was just made, from files that were just verified",
    "runs.manifest": "renames a folder of ours",
    "runs.rundir": "a part that was just made, and parts that were left",
    "display.figures": "a picture that is drawn into memory",
}
"""Modules that may call some of these, and for what."""


def calls(module: Path) -> set[str]:
    """The calls in a module that open, make, move or delete something by a path."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        of = node.func
        if isinstance(of, ast.Name) and of.id in OPENS - {"replace", "copy"}:
            found.add(of.id)
        elif isinstance(of, ast.Attribute) and of.attr in OPENS:
            owner = of.value.id if isinstance(of.value, ast.Name) else ""
            of_path = of.attr not in ALSO_OTHERS or (of.attr == "replace" and len(node.args) == 1 and not node.keywords)
            of_path |= of.attr == "open" and owner not in ("run", "record")
            if owner in MODULES or (of_path and owner != "files"):
                found.add(f"{owner}.{of.attr}")
    return found


def test_files_of_run_directories_are_opened_in_one_way():
    modules = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts): p for room in ROOMS for p in (ROOT / room).rglob("*.py")
    }
    assert {name: found for name, module in modules.items() if name not in OTHERWISE and (found := calls(module))} == {}
    assert {name for name in OTHERWISE if not calls(modules[name])} == set()


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, Path]:
    """What is no regular file, by its kind."""
    (tmp_path / "target").write_text("secret")
    paths = {name: tmp_path / name for name in ("link", "loop", "broken", "pipe", "folder", "device", "socket")}
    paths["link"].symlink_to(tmp_path / "target")
    paths["loop"].symlink_to(paths["loop"])
    paths["broken"].symlink_to(tmp_path / "nothing")
    os.mkfifo(paths["pipe"])
    paths["folder"].mkdir()
    paths["device"].symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        before = os.getcwd()
        os.chdir(tmp_path)  # a socket's path may not be long
        bound.bind("socket")
        os.chdir(before)
    return paths


def test_only_regular_files_are_opened(odd: dict[str, Path]):
    for path in odd.values():
        for open_it in (
            files.read,
            files.reader,
            files.appender,
            lambda p: files.end(p, 9),
            lambda p: files.replace(p, [b"x"]),
        ):
            with pytest.raises(files.Refused, match=r"is a link, which is not followed|is not a regular file"):
                open_it(path)
        assert atomic.read_json(path) is None
        files.remove(path)
        files.empty(path)
    assert {path.name for path in odd.values() if files.kind(path) is not None} == set(odd)
    assert (odd["link"].parent / "target").read_text() == "secret"
    assert not (odd["link"].parent / "nothing").exists()


def test_no_folder_on_the_way_is_a_link(tmp_path: Path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.yaml").write_text("a: 1")
    run = tmp_path / "run"
    run.mkdir()
    (run / ".hydra").symlink_to(tmp_path / "outside")
    with pytest.raises(files.Refused):
        files.read(run / ".hydra/config.yaml", below=run)
    with pytest.raises(files.Refused):
        files.replace(run / ".hydra/config.yaml", [b"b: 2"], below=run)
    assert (tmp_path / "outside" / "config.yaml").read_text() == "a: 1"
    (tmp_path / "named").symlink_to(run)  # the directory itself may be reached by any path
    files.replace(tmp_path / "named" / "experiment" / "best.yaml", [b"x"], below=tmp_path / "named")
    assert files.read(run / "experiment/best.yaml", below=run) == b"x"


def test_what_is_read_as_a_whole_has_a_bound(tmp_path: Path):
    large, deep = tmp_path / "large.json", tmp_path / "deep.json"
    large.touch()
    os.truncate(large, files.MOST + 1)
    with pytest.raises(files.Refused, match="is larger than 64 MiB"):
        files.read(large)
    for depth in (atomic.DEEPEST + 1, 500, 5000, 300_000):
        deep.write_text('{"a": ' * depth + "1" + "}" * depth)
        assert atomic.read_json(deep) is None
    deep.write_text('{"a": ' * atomic.DEEPEST + "1" + "}" * atomic.DEEPEST)
    assert atomic.read_json(deep) is not None


def test_a_file_with_another_name_elsewhere_stays_as_it_is(tmp_path: Path):
    ours, other = tmp_path / "log.txt", tmp_path / "other"
    ours.write_text("before\n")
    os.link(ours, other)
    with files.appender(ours) as f:
        f.write(b"after\n")
    assert (ours.read_text(), other.read_text()) == ("before\nafter\n", "before\n")
    os.unlink(ours)
    os.link(other, ours)
    files.empty(ours)
    assert other.read_text() == "before\n"


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", ".lock", "log.txt", "checkpoints", ".hydra", "history"])
def test_who_is_about_to_write_is_told_what_is_not_ours(name: str, tmp_path: Path):
    (tmp_path / name).symlink_to("/tmp")
    with pytest.raises(InvalidConfig, match="is a link, which is not followed"):
        rundir.check(tmp_path)
    (tmp_path / name).unlink()
    rundir.check(tmp_path)


def test_rows_are_streamed_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    row = b'{"step": 1, "split": "val", "loss": 0.5}\n'
    file = tmp_path / rundir.METRICS
    file.write_bytes(
        row + b"x" * (3 * rundir.LONGEST_ROW) + b"\n" + row + b'{"step": 2, "split": "v\xffl"}\n' + b"torn"
    )
    found, lost = rundir.read_rows(tmp_path)
    assert (len(found), lost) == (2, "2 of 4 rows of metrics.jsonl are damaged")
    rundir.keep_rows(tmp_path, lambda row: True)
    assert file.read_bytes() == row * 2
    os.truncate(file, 8 << 30)  # holes
    assert rundir.read_rows(tmp_path) == ([], "metrics.jsonl is larger than 512 MiB: its rows are not read")


def test_parts_that_a_killed_process_left_are_removed(tmp_path: Path):
    ours, others = (
        (".summary.json.12", ".run.json.7", ".curves.png.part"),
        (".summary.json.bak", ".notes.5", "run.json.3"),
    )
    for name in (*ours, *others):
        (tmp_path / name).touch()
    (tmp_path / ".metrics.jsonl.5").symlink_to(tmp_path / "run.json.3")
    rundir.remove_parts(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {*others, ".metrics.jsonl.5"}
