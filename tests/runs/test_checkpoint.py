"""States on disk: what was saved comes back, and nothing that is damaged ever does."""

import random
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrun.program import pytree
from dlrun.runs import checkpoint, manifest
from dlrun.runs.checkpoint import CheckpointError, Checkpoints


def tree() -> dict:
    return {
        "params": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.zeros(3)},
        "step": jnp.int32(7),
        "key": jax.random.key(3),
        "half": jnp.ones(2, jnp.bfloat16),
        "none": None,
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 7 and 9 of one state."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    states = Checkpoints(folder, keep=2)
    for step in (7, 9):
        states.save(step, pytree.copied(tree()), {"best": 0.5, "name": "é", "none": None}, best=None)
    states.close()
    return folder


def test_what_was_saved_comes_back(saved):
    arrays, loop = checkpoint.read(saved, 9)
    found = pytree.fit(arrays, tree())
    assert loop == {"best": 0.5, "name": "é", "none": None}
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(tree()), strict=True):
        assert a.dtype == b.dtype
        same = jax.random.key_data if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key) else np.asarray
        np.testing.assert_array_equal(same(a), same(b))


@pytest.mark.parametrize(("change", "message"), [
    ({"step": jnp.float32(7)}, "step is int32"),
    ({"params": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(3)}}, r"params/kernel is float32\[2, 3\], the model's"),
    ({"params": {"kernel": jnp.zeros((2, 3))}}, "only the checkpoint has params/bias"),
    ({"more": jnp.zeros(1)}, "only the model has more"),
])  # fmt: skip
def test_another_form_is_refused(saved, change, message):
    with pytest.raises(CheckpointError, match=message):
        pytree.fit(checkpoint.read(saved, 9)[0], tree() | change)


def test_the_last_and_the_best_are_kept(tmp_path):
    states = Checkpoints(tmp_path / "c", keep=2)
    for step in range(1, 7):
        states.save(step, pytree.copied(tree()), {}, best=2)
    states.close()
    assert manifest.sound(tmp_path / "c") == [2, 5, 6]


def test_saving_copies(tmp_path):
    """The training overwrites its buffers while the state is still being written."""
    states, array = Checkpoints(tmp_path / "c"), np.zeros(1000)
    states.save(1, pytree.copied({"a": array}), {}, best=None)
    array += 1
    states.close()
    assert not checkpoint.read(tmp_path / "c", 1)[0]["a"].any()


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def damage(folder: Path, random: random.Random) -> str:
    """Damages one file below a folder in a random way."""
    file = random.choice(files(folder))
    data = bytearray(file.read_bytes())
    kind = random.choice(["flip", "truncate", "delete", "append", "empty", "rename"])
    if not data and kind in ("flip", "truncate", "empty"):
        kind = "delete"
    if kind == "flip":
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    elif kind == "truncate":
        del data[random.randrange(len(data)) :]
    elif kind == "append":
        data.append(random.randrange(256))
    elif kind == "empty":
        data.clear()
    if kind == "delete":
        file.unlink()
    elif kind == "rename":
        file.rename(file.with_name(file.name + "~"))
    else:
        file.write_bytes(data)
    return f"{kind} {file.relative_to(folder)}"


def test_1000_damages_none_loads(saved, tmp_path):
    rng = random.Random(0)
    for number in range(1000):
        folder = tmp_path / "c"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved / "9", folder / "9")
        what = damage(folder / "9", rng)
        assert not manifest.verify(folder / "9"), (number, what)
        assert manifest.sound(folder) == []
        if number % 100 == 0:
            with pytest.raises(CheckpointError, match="incomplete or damaged"):
                checkpoint.read(folder, 9)


@given(st.binary(max_size=200))
def test_no_other_manifest_verifies(saved, text):
    folder = saved.parent / "other"
    if not folder.exists():
        shutil.copytree(saved / "7", folder)
    real = (saved / "7" / manifest.MANIFEST).read_bytes()
    (folder / manifest.MANIFEST).write_bytes(text)
    assert manifest.verify(folder) == (text == real)
    (folder / manifest.MANIFEST).write_bytes(real + text)
    assert manifest.verify(folder) == (text == b"")


def test_manifest_is_what_sha256sum_reads(saved):
    import subprocess

    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", manifest.MANIFEST], cwd=saved / "9", check=True)


def test_failed_save_is_told_and_leaves_the_one_before(tmp_path, monkeypatch):
    states = Checkpoints(tmp_path / "c")
    states.save(1, pytree.copied(tree()), {}, best=None)
    states.wait()

    def full(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "manifest", full)
    states.save(2, pytree.copied(tree()), {}, best=None)
    with pytest.raises(CheckpointError, match="step 2 could not be saved: no space left on the disk"):
        states.close()
    monkeypatch.undo()
    assert manifest.sound(tmp_path / "c") == [1]
