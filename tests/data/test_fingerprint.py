"""A run that goes on knows when its data is not what it was."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlrun.config.settings import Splitting
from dlrun.data import fingerprint, lazy
from dlrun.data.dataset import Dataset, Rows, cut
from dlrun.data.fingerprint import changes, digest
from dlrun.data.sources.images import images as read_images
from dlrun.data.sources.table import table as read_table
from dlrun.data.sources.text import text as read_text
from tests.digest import digest as result
from tests.sweeps import runs, statuses

SMALL = ("model.widths=[8]", "norm=none", "optim=sgd", "schedule=constant", "batch_size=8", "log.plot=false")


def files(folder: Path) -> dict[str, str]:
    """A hash of each file below, the lock included."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def edit(file: Path, **values) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


# Digests


def test_a_digest_is_of_values_and_their_order():
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    same = [x.copy(), np.asfortranarray(x), lazy.Subset(np.vstack([x[::-1], x]), np.arange(6, 12))]
    others = [x[::-1], x.astype(np.float64), x.reshape(3, 4), np.nextafter(x, 9), lazy.Subset(x, np.array([1, 0, 2]))]
    assert {digest(a, "files") for a in same} == {digest(x, "files")}
    assert len({digest(a, "files") for a in (x, *others)}) == 6
    assert digest(x, "files") == "sha256:" + hashlib.sha256(b"float32 (6, 2)" + x.tobytes()).hexdigest()


def test_cells_of_a_table_are_told_apart():
    def cells(*values):
        return digest(np.array([values], object).T, "files")

    kinds = [
        (1.0, 2.0),
        (2.0, 1.0),
        ("1.0", "2.0"),
        ("1", "2"),
        (1, 2),
        ("a", None),
        ("a", "None"),
        (float("nan"), 1.0),
    ]
    assert len({cells(*values) for values in kinds}) == len(kinds)
    assert cells(float("nan"), 1.0) == cells(float("nan"), 1.0)


def test_all_rows_count_whatever_the_pieces(monkeypatch):
    monkeypatch.setattr(lazy, "PIECE_BYTES", 64)
    monkeypatch.setattr(fingerprint, "OBJECT_ROWS", 3)
    for x in (np.zeros((100, 3), np.float32), np.zeros((100, 3), object)):
        found = {digest(x, "files")}
        for row in (0, 50, 99):
            other = x.copy()
            other[row, 2] = 1.0
            found.add(digest(other, "files"))
        assert len(found) == 4


def pictures(folder: Path, count: int = 12) -> None:
    for name, low in (("cat", 0), ("dog", 60)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng(i).integers(low, low + 150, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


@pytest.mark.parametrize("by", ["files", "content"])
def test_what_images_are_known_by(by, own_folder):
    pictures(own_folder / "d")

    def now(path="d"):
        return cut(read_images(path=path, size=8), Splitting(val=4, test=4), by).fingerprint

    before, file = now(), own_folder / "d" / "cat" / "3.png"
    assert now() == before
    assert before["train"]["x"].startswith({"files": "files:", "content": "sha256:"}[by])
    shutil.copytree("d", "moved")
    assert now("moved") == before, "times are copied, and where the folder is does not matter"
    times = file.stat()
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns + 10**9))
    assert (now() == before) == (by == "content")
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (now() == before) == (by == "files"), "the price of not reading them"


def test_large_mapped_arrays_are_known_by_their_file(own_folder, monkeypatch):
    np.save("x.npy", np.zeros((10, 4), np.uint8))
    x = np.load("x.npy", mmap_mode="r")
    assert digest(x, "files") == digest(np.zeros((10, 4), np.uint8), "files")
    monkeypatch.setattr(fingerprint, "MAPPED_BYTES", 8)
    before = [digest(x, "files"), digest(lazy.Subset(x, np.arange(5)), "files"), digest(x, "content")]
    assert [text.split(":")[0] for text in before] == ["files", "files", "sha256"]
    assert digest(lazy.Subset(x, np.arange(5, 10)), "files") != before[1]
    os.utime("x.npy", ns=(0, 0))
    assert [digest(x, "files") == before[0], digest(x, "content") == before[2]] == [False, True]


def test_rows_that_are_decoded_from_nowhere_are_known_by_a_sample():
    class Made:
        shape, dtype = (20_000, 2), np.dtype(np.float32)

        def __init__(self, scale):
            self.scale = scale

        def __len__(self):
            return self.shape[0]

        def __getitem__(self, index):
            rows = np.arange(len(self))[index]
            return np.stack([rows, rows], 1).astype(np.float32) * self.scale

    assert digest(Made(1), "files") == digest(Made(1), "files") != digest(Made(2), "files")
    assert digest(Made(1), "files").startswith("sample:")
    assert digest(Made(1), "content") == digest(Made(1)[:], "content")


# What changed, in words


def record(x=0.0, y=0, n=20, classes=("a", "b"), **more):
    rows = Rows(np.full((n, 2), x, np.float32), np.full(n, y, np.int32))
    data = cut(Dataset("rows", classes, rows, val=rows, test=rows), Splitting())
    return json.loads(json.dumps({**data.preprocessing(), **more}))


def test_what_changed_is_named():
    before = record()
    cases = {
        "": record(),
        "train 20 rows, now 1,021; val 20 rows, now 1,021; test 20 rows, now 1,021": record(n=1021),
        "inputs of train, val, test": record(x=1.0),
        "targets of train, val, test": record(y=1),
        "class 'c' is new": record(classes=("a", "b", "c")),
        "class 'b' is gone": record(classes=("a",)),
        "class 'c' is new; class 'b' is gone": record(classes=("a", "c")),
        "classes are in another order": record(classes=("b", "a")),
        "shape was [2], is [3]": {**before, "shape": [3]},
        "input_mean is computed differently": {**before, "input_mean": [0.0, 0.01]},
        "input_std is computed differently": {**before, "input_std": [1.0, 1.01]},
    }
    for words, now in cases.items():
        assert "; ".join(changes(before, now)) == words
    assert not changes(before, {**before, "input_mean": [0.0, 1e-4], "later": 1}), "another library may round otherwise"
    assert not changes({}, before)
    encoder = {"columns": [{"kind": "number", "name": "a", "median": 1.0}]}
    for median, words in ((1.0, []), (2.0, ["encoder is computed differently"])):
        now = {"encoder": {"columns": [{"kind": "number", "name": "a", "median": median, "later": 1}]}}
        assert changes({"encoder": encoder}, now) == words


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("a,b,y", "a,c,y"), ["column 'c' is new", "column 'b' is gone"]),
        (("a,b,y", "b,a,y"), ["columns are in another order"]),
        (("a,b,y", "c,d,y"), ["columns 'c', 'd' are new", "columns 'a', 'b' are gone"]),
        (None, ["shape was [3], is [4]", "column 'n' is new"]),
    ],
)
def test_columns_that_are_named_otherwise_are_told(edit, words, own_folder):
    def now():
        return json.loads(json.dumps(cut(read_table(path="d.csv", target="y"), Splitting()).preprocessing()))

    table()
    before, lines = now(), Path("d.csv").read_text()
    if edit:
        lines = lines.replace(*edit)
    else:
        head, *rows = lines.splitlines()
        lines = "\n".join([f"{head},n", *(f"{row},{i % 5}.5" for i, row in enumerate(rows))]) + "\n"
    Path("d.csv").write_text(lines)
    assert changes(before, now())[: len(words)] == words


# Runs


def arrays(n=120, classes=2, seed=0):
    random = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return random.normal(size=(n, 4)).astype(np.float32) + y[:, None], np.array(["cat", "dog", "emu"])[y]


def save(x, y):
    np.savez("d.npz", x=x, y=y)


def appended():
    x, y = arrays(120)
    save(np.vstack([x, x[:3]]), np.concatenate([y, y[:3]]))


def swapped():
    x, y = arrays()
    y[[10, 11]] = y[[11, 10]]
    save(x, y)


def one_class_more():
    x, y = arrays()
    y[:30] = "emu"
    save(x, y)


def one_pixel():
    x, y = arrays()
    x[7, 1] += 1e-3
    save(x, y)


def reordered():
    x, y = arrays()
    save(x[::-1], y[::-1])


def one_column_more():
    x, y = arrays()
    save(np.hstack([x, x[:, :1]]), y)


CHANGES = {
    appended: "train 86 rows, now 88",
    swapped: "targets of ",
    one_class_more: "class 'emu' is new",
    one_pixel: "inputs of ",
    reordered: "inputs of train, val, test",
    one_column_more: "shape was [4], is [5]",
}
FIT = (appended, swapped, one_pixel, reordered)


@pytest.fixture
def run(finished, own_folder):
    save(*arrays())
    return finished("data=arrays", "data.path=d.npz", *SMALL, "epochs=2", "hydra.run.dir=run")


@pytest.mark.parametrize(
    ("change", "how"), [*((c, "done") for c in CHANGES), *((appended, how) for how in ("killed", "stopped", "unsound"))]
)
def test_changed_data_is_refused_and_nothing_is_written(change, how, run, dlrun):
    if how in ("killed", "stopped"):
        edit(run.directory / "run.json", status={"killed": "running"}.get(how, how))
        (run.directory / "summary.json").unlink()
    if how == "unsound":
        (run.directory / "checkpoints" / "999").mkdir()
    change()
    before = files(run.directory)
    done = dlrun("resume", "run", "epochs=3")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    assert done.err.startswith("error: run: the data changed since this was started: ")
    assert CHANGES[change] in done.err
    assert ("--accept-data" in done.err) == (change in FIT)
    assert files(run.directory) == before


@pytest.mark.parametrize("change", [one_class_more, one_column_more])
def test_accepted_data_must_still_fit(change, run, dlrun):
    change()
    before = files(run.directory)
    done = dlrun("resume", "run", "epochs=3", "--accept-data")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    assert "; --accept-data can't help, as the saved state does not fit: " in done.err
    assert done.err.endswith(": start a new run\n")
    assert files(run.directory) == before


def test_accepted_data_begins_a_new_chapter(dlrun, own_folder):
    x, y = arrays()

    def given(names):
        ends = {"train": (0, 80), "val": (80, 100), "test": (100, 120)}
        parts = {f"{k}_{split}": v[a:b] for split, (a, b) in ends.items() for k, v in (("x", x), ("y", names[y]))}
        np.savez("d.npz", **parts)

    y = np.arange(120) % 2
    given(np.array(["cat", "dog"]))
    run = dlrun("data=arrays", "data.path=d.npz", *SMALL, "epochs=2", "hydra.run.dir=run")
    old, rows, data = run.summary, run.rows, json.loads((run.directory / "data.json").read_text())
    given(np.array(["dog", "cat"]))  # what was right is wrong now
    before = files(run.directory)
    done = dlrun("resume", "run", "--accept-data")
    assert (done.code, done.out) == (2, "")
    assert "--accept-data: nothing would be trained" in done.err
    assert "epochs=3 or more" in done.err
    assert files(run.directory) == before

    done = dlrun("resume", "run", "--accept-data", "epochs=3")
    assert done.code == 0, done.err
    assert "warning: the data changed since this was started: targets of train, val, test; the best value" in done.err
    assert "rows that were trained on may be in other splits now" in done.err
    (again,) = done.run["resumed"]
    assert again["overrides"] == ["epochs=3"]
    assert again["data"] == {"step": old["step"], "changed": ["targets of train, val, test"], "before": "history/1"}
    assert all(row["step"] >= old["step"] for row in done.rows if row["split"] != "train")
    first = next(row for row in done.rows if row["split"] == "val")
    assert first["step"] == old["step"], "what is there is measured anew"
    assert first["accuracy"] == pytest.approx(1 - old["val/accuracy"])
    assert first["accuracy"] != old["val/accuracy"]
    values = {row["step"]: row["accuracy"] for row in done.rows if row["split"] == "val"}
    assert done.summary["best/val/accuracy"] == max(values.values()), "the old best value counts no more"
    now = json.loads((run.directory / "data.json").read_text())["fingerprint"]
    assert now["train"]["x"] == data["fingerprint"]["train"]["x"]
    assert now["train"]["y"] != data["fingerprint"]["train"]["y"]
    kept = run.directory / "history" / "1"
    assert [json.loads(line) for line in (kept / "metrics.jsonl").read_text().splitlines()] == rows
    assert json.loads((kept / "summary.json").read_text()) == old
    assert json.loads((kept / "data.json").read_text()) == data
    assert f"on data that changed, from step {old['step']} on" in dlrun("show-run", "run").out
    assert dlrun("resume", "run", "epochs=4").code == 0, "what was accepted is the data now"


def test_what_was_accepted_stays_forgotten_after_a_kill(run, dlrun, own_folder):
    """The state on the disk still has the best value of before: a run that is killed before the next one is saved."""
    x, y = arrays()
    save(x, y[::-1])
    shutil.copytree("run", "whole")
    assert dlrun("resume", "whole", "--accept-data", "epochs=3").code == 0
    states = own_folder / "states"
    shutil.copytree("run/checkpoints", states)
    assert dlrun("resume", "run", "--accept-data", "epochs=3").code == 0
    edit(run.directory / "run.json", status="running")
    (run.directory / "summary.json").unlink()
    shutil.rmtree(run.directory / "checkpoints")
    shutil.copytree(states, run.directory / "checkpoints")
    assert dlrun("resume", "run").code == 0
    assert result(run.directory) == result(own_folder / "whole")


def test_the_same_data_written_again_is_the_same(run, dlrun):
    os.utime("d.npz", ns=(0, 0))
    save(*arrays())
    done = dlrun("resume", "run", "epochs=3", "--accept-data")
    assert (done.code, done.err.count("warning")) == (0, 0), done.err
    assert done.run["resumed"] == [{"time": done.run["resumed"][0]["time"], "overrides": ["epochs=3"]}]
    assert not (run.directory / "history").exists()


def test_a_run_without_a_fingerprint_goes_on_with_a_word(run, dlrun):
    file = run.directory / "data.json"
    old = {k: v for k, v in json.loads(file.read_text()).items() if k != "fingerprint"}
    file.write_text(json.dumps(old))
    shutil.copytree("run", "other")
    done = dlrun("resume", "run", "epochs=3")
    assert done.code == 0, done.err
    assert "warning: run has no record of what its data held: whether it changed can't be checked" in done.err
    assert "fingerprint" in json.loads(file.read_text())
    assert "warning" not in dlrun("resume", "run", "epochs=4").err
    appended()  # which even the numbers of rows in run.json tell
    before = files(Path("other"))
    done = dlrun("resume", "other", "epochs=3")
    assert done.code == 2
    assert "train 86 rows, now 88" in done.err
    assert files(Path("other")) == before


def test_where_data_comes_from_may_not_change(run, dlrun):
    before = files(run.directory)
    shutil.copy("d.npz", "e.npz")
    for override in ("data.path=e.npz", "split.seed=1", "split.val=0.2", "stream.fingerprint=content"):
        done = dlrun("resume", "run", override, "epochs=3", "--accept-data")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"error: {override}: can't be changed in a resumed run"), done.err
    done = dlrun("data=arrays", "data.path=d.npz", *SMALL, "--accept-data")
    assert done.err == "error: --accept-data: not allowed here; allowed: dlrun resume DIR --accept-data\n"
    assert files(run.directory) == before


def table(change=False):
    random, lines = np.random.default_rng(0), ["a,b,y"]
    for i in range(60):
        lines.append(f"{random.normal():.3f},{'uv'[i % 2]},{'no' if i % 3 else 'yes'}")
    lines[7] = lines[7].replace("u", "v") if change else lines[7]
    Path("d.csv").write_text("\n".join(lines) + "\n")


def text(change=False):
    Path("d.txt").write_text("".join(f"line {i} of {'many' if change and i == 7 else 'some'}\n" for i in range(200)))


def folder(change=False):
    if change:
        shutil.copy("d/cat/1.png", "d/cat/2.png")
    else:
        pictures(Path("d"))


@pytest.mark.parametrize("make", [table, text, folder])
def test_edits_of_other_sources(make, own_folder):
    def now():
        source = {
            table: lambda: read_table(path="d.csv", target="y"),
            text: lambda: read_text(path="d.txt", length=8),
            folder: lambda: read_images(path="d", size=8),
        }
        return json.loads(json.dumps(cut(source[make](), Splitting()).preprocessing()))

    make()
    before = now()
    assert changes(before, now()) == []
    make(change=True)
    (changed, *_) = changes(before, now())
    assert changed.startswith("inputs of ")
    assert changed.endswith("(names, sizes or times of files)") == (make is folder)


def test_an_edited_image(dlrun, own_folder):
    folder()
    assert dlrun("data=images", "data.path=d", "data.size=8", *SMALL, "steps=3", "hydra.run.dir=run").code == 0
    folder(change=True)
    before = files(Path("run"))
    done = dlrun("resume", "run", "steps=5")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    assert "inputs of " in done.err
    assert "(names, sizes or times of files)" in done.err
    assert files(Path("run")) == before


# Sweeps


@pytest.fixture
def sweep(dlrun, own_folder):
    save(*arrays())
    words = ("-m", "data=arrays", "data.path=d.npz", *SMALL, "epochs=2", "hydra.sweep.dir=sweep")
    assert dlrun(*words, "seed=0,1").code == 0
    return words


def test_a_sweep_does_not_mix_data(sweep, dlrun, monkeypatch):
    swapped()
    before = files(Path("sweep"))
    for words in (("resume", "sweep", "seed=0,1,2"), (*sweep, "seed=0,1,2"), ("resume", "sweep"), (*sweep, "seed=0,1")):
        done = dlrun(*words)
        assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
        assert done.err.startswith("error: sweep/0: the data changed since this was started: targets of ")
        assert done.err.endswith("allowed: the earlier data, or a new sweep\n")
        assert files(Path("sweep")) == before
    done = dlrun("resume", "sweep", "seed=0,1,2", "--accept-data")
    assert (
        done.err == "error: --accept-data: not allowed for a sweep, whose runs must share their data; allowed: for a "
        "single run\n"
    )
    save(*arrays())
    assert dlrun("resume", "sweep", "seed=0,1,2").code == 0
    assert statuses(Path("sweep")) == ["completed"] * 3


def test_a_sweep_one_of_whose_runs_accepted_other_data_does_not_go_on(sweep, dlrun):
    """Neither with the data of then nor with that of now, until all runs have the same."""
    swapped()
    assert dlrun("resume", "sweep/0", "epochs=3", "--accept-data").code == 0
    before = files(Path("sweep"))
    for at_hand in (swapped, lambda: save(*arrays())):
        at_hand()
        for words in (("resume", "sweep", "seed=range(0,3)"), (*sweep, "seed=0,1,2")):
            done = dlrun(*words)
            assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
            assert done.err.startswith("error: sweep/1: not trained on the same data as sweep/0: targets of "), done.err
            assert files(Path("sweep")) == before
    swapped()
    assert dlrun("resume", "sweep/1", "epochs=3", "--accept-data").code == 0
    before = files(Path("sweep"))
    save(*arrays())
    done = dlrun("resume", "sweep", "seed=range(0,3)")
    assert (done.code, done.out, files(Path("sweep"))) == (2, "", before)
    assert done.err.startswith("error: sweep/0: the data changed since this was started: targets of ")
    swapped()
    assert dlrun("resume", "sweep", "seed=range(0,3)").code == 0
    assert len({json.dumps(json.loads((run / "data.json").read_text())) for run in runs(Path("sweep"))}) == 1


def test_other_data_in_the_same_sweep_is_no_change(dlrun, own_folder):
    save(*arrays())
    words = ("-m", "data=arrays", "data.path=d.npz", *SMALL, "epochs=1", "hydra.sweep.dir=sweep", "seed=0")
    assert dlrun(*words).code == 0
    assert dlrun(*words, "split.seed=0,1").code == 0


@pytest.mark.parametrize("when", ["before", "again"])
def test_workers_do_not_mix_data(when, sweep, dlrun, monkeypatch, capsys):
    """The data changes after it was looked at, and before a worker begins, or after it was killed."""
    from dlrun.sweep.worker import main

    def launch(self, units, *, done, **how):
        for unit in units:
            if when == "again":
                assert main(str(unit)) == 0
                for run in ("sweep/2", "sweep/3"):
                    edit(Path(run, "run.json"), status="running")
            swapped()
            told.append(None)
            with pytest.raises(Exception, match=r"the data changed .* targets of ") as error:
                main(str(unit))
            told[-1] = files(Path("sweep"))
            assert type(error.value).__name__ == "InvalidConfig"
            done(unit, 2)

    told: list = []
    monkeypatch.setattr("dlrun.sweep.launchers.base.Launcher.launch", launch)
    assert dlrun("resume", "sweep", "seed=0,1,2,3", "launcher.workers=1").code == 1
    assert len(told) == 1
    assert [Path(f"sweep/{job}/metrics.jsonl").exists() for job in range(4)] == [True, True] + [when == "again"] * 2


def test_data_is_read_once_for_all_runs_of_a_sweep(dlrun, own_folder, monkeypatch):
    counted = []
    real = fingerprint.fingerprint
    monkeypatch.setattr("dlrun.data.dataset.fingerprint", lambda *a: counted.append(1) or real(*a))
    save(*arrays())
    done = dlrun("-m", "data=arrays", "data.path=d.npz", *SMALL, "epochs=1", "seed=0,1,2", "act=relu,tanh")
    assert done.code == 0, done.err
    assert len(counted) == 1
    found = [json.loads((run / "data.json").read_text())["fingerprint"] for run in runs(done.directory)]
    assert len(found) == 6
    assert all(one == found[0] and one["train"]["rows"] == 86 for one in found)


def test_a_teacher_of_other_rows_is_told(dlrun, own_folder):
    save(*arrays())
    words = ("data=arrays", "data.path=d.npz", *SMALL, "epochs=1")
    assert dlrun(*words, "hydra.run.dir=teacher").code == 0
    student = (*words, "loss=distillation", "loss.teacher=teacher")
    assert "other rows" not in dlrun(*student).err
    told = dlrun(*student, "split.seed=1")
    assert told.code == 0
    assert "warning: loss.teacher=teacher learnt from other rows, perhaps test rows of this run" in told.err


def test_run_json_tells_data_from_other_data(dlrun, own_folder):
    """By content and cut, whatever the seed of the run: compare reads nothing else."""
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 3
    words = ("data=arrays", "data.path=x.npz", "epochs=1", "batch_size=16", "model.widths=[4]", "log.plot=false")

    def told(*more, **arrays):
        np.savez("x.npz", **{"x": x, "y": y, **arrays})
        return dlrun(*words, *more).run["data"]

    first = told()
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert told("seed=1", "act=tanh") == first
    others = [told(y=2 - y), told(x=x[::-1]), told(x=x + 1e-12), told("split.seed=1")]
    assert len({first, *others}) == 5
