"""A run that is resumed takes nothing from its directory on trust, and touches nothing that is not its own."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dlrun.runs import manifest
from tests.conftest import QUICK, Outcome
from tests.digest import digest

WORDS = (*QUICK, "epochs=3", "checkpoint.keep=3", "checkpoint.every=1epoch", "dropout=0.1")


def everything(folder: Path) -> dict[str, bytes | str | None]:
    """All below a folder: what files hold, where links lead."""
    return {
        str(p): os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else None
        for p in folder.rglob("*")
    }  # fmt: skip


@pytest.fixture
def run(finished: Callable[..., Outcome]) -> Path:
    return finished(*WORDS).directory


@pytest.fixture
def newest(run: Path) -> Path:
    """The folder of the last state."""
    return run / "checkpoints" / str(manifest.steps(run / "checkpoints")[-1])


def sealed(folder: Path, loop: str | None, *, arrays: bool = True) -> None:
    """Gives a state another content, and the manifest that is right for it."""
    state = folder / manifest.STATE
    if arrays:
        save_file(load_file(state), state, None if loop is None else {manifest.LOOP: loop})
    else:
        state.write_text("no arrays")
    (folder / manifest.MANIFEST).write_text(manifest.manifest(folder))


@pytest.mark.parametrize(
    "content", ["text", "no position", "deep", "it holds values that are not numbers", "of another step"]
)
def test_a_sound_manifest_around_wrong_content_falls_back_to_the_state_before(content, run, newest, dlrun):
    whole = digest(run)
    with safe_open(newest / manifest.STATE, framework="np") as opened:
        loop = json.loads(opened.metadata()[manifest.LOOP])
    if content == "text":
        sealed(newest, None, arrays=False)
    else:
        of_another = {
            "no position": None,
            "deep": "[" * 100_000,
            "it holds values that are not numbers": json.dumps({**loop, "plateau": 3}),
        }
        sealed(newest, of_another.get(content, json.dumps({**loop, "step": loop["step"] - 1})))
    resumed = dlrun("resume", str(run))
    assert resumed.code == 0, resumed.err
    assert f"warning: the saved state of step {newest.name} is incomplete or damaged; going on from" in resumed.err
    assert digest(run) == whole


@pytest.mark.parametrize(
    "row", [b'{"step": 2, "splot": "val"}', b'{"step": "2", "split": "val"}', b'{"st\xf7p": 20', b"[1]"]
)
def test_a_damaged_row_is_left_out_and_said(row, run, newest, dlrun):
    whole = digest(run)
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    (run / "metrics.jsonl").write_bytes(b"\n".join([*lines[:-1], row, lines[-1]]) + b"\n")
    shutil.rmtree(newest)
    resumed = dlrun("resume", str(run))
    assert resumed.code == 0, resumed.err
    assert "warning: 1 damaged row of metrics.jsonl: left out" in resumed.err
    assert digest(run) == whole


@pytest.mark.parametrize("lose", ["run.json", "data.json", ".lock", "log.txt", ".hydra/hydra.yaml"])
def test_a_lost_file_is_made_anew(lose, run, newest, dlrun):
    whole = digest(run)
    shutil.rmtree(newest)
    (run / lose).unlink()
    resumed = dlrun("resume", str(run))
    assert resumed.code == 0, resumed.err
    assert digest(run) == whole
    assert json.loads((run / "run.json").read_text())["status"] == "completed"


@pytest.mark.parametrize("name", [
    "checkpoints", ".hydra", "metrics.jsonl", "run.json", "summary.json", "data.json", "log.txt", ".lock",
    "metrics.csv", "tensorboard", "history", "curves.png",
])  # fmt: skip
def test_what_leads_elsewhere_is_refused_and_nothing_is_touched(name, run, newest, dlrun, tmp_path):
    shutil.rmtree(newest)
    outside = tmp_path / "outside"
    outside.mkdir()
    there = outside / "kept"
    shutil.move(run / name, there) if (run / name).exists() else there.write_text("precious")
    (run / name).symlink_to(there)
    before = everything(tmp_path)
    resumed = dlrun("resume", str(run))
    assert (resumed.code, resumed.out) == (2, "")
    assert resumed.err == f"error: {run / name}: is a link, which is not followed; nothing was changed\n"
    assert everything(tmp_path) == before
    (run / name).unlink()
    os.mkfifo(run / name)
    wanted = "regular file" if there.is_file() and name not in ("tensorboard", "history") else "folder"
    assert dlrun("resume", str(run)).err == f"error: {run / name}: is not a {wanted}; nothing was changed\n"


def test_a_configuration_that_is_not_that_of_the_run_is_said(run, newest, dlrun):
    shutil.rmtree(newest)
    config = run / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("dropout: 0.1", "dropout: 0.3"))
    resumed = dlrun("resume", str(run), "checkpoint.keep=2")
    assert resumed.code == 0, resumed.err
    said = f"warning: {config}: it says dropout=0.3, but run.json has 0.1; going on with the former"
    assert [line for line in resumed.err.splitlines() if "run.json" in line] == [said]


def test_a_folder_of_the_users_own_among_the_states_stays(run, newest, dlrun):
    shutil.rmtree(newest)
    own = run / "checkpoints" / "7"
    own.mkdir()
    (own / "notes.txt").write_text("mine")
    for name in (".summary.json.77", ".run.json.78"):
        (run / name).write_text("left by a process that was killed")
    assert dlrun("resume", str(run), "checkpoint.keep=1").code == 0
    assert (own / "notes.txt").read_text() == "mine"
    assert not list(run.glob(".*.7*"))
    later = own.rename(newest.with_name("999"))
    refused = dlrun("resume", str(run), "epochs=4")
    assert (refused.code, refused.err) == (2, f"error: {later}: holds other files, and no state; move it elsewhere\n")
