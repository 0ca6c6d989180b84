"""A number that is not finite stops the run, is named, and never reaches a saved state."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from dlrun.runs import checkpoint, manifest
from tests.conftest import QUICK


def finite(directory) -> bool:
    steps = manifest.sound(directory / "checkpoints")
    return all(
        np.isfinite(a).all()
        for s in steps
        for a in checkpoint.read(directory / "checkpoints", s)[0].values()
        if a.dtype.kind == "f"
    )


def test_a_learning_rate_too_large_diverges(dlrun):
    run = dlrun(*QUICK, "epochs=5", "optim=sgd", "optim.lr=1e30", "norm=none", "schedule=constant", "log.every=10")
    assert run.code == 1
    assert run.run["status"] == "diverged"
    assert "not finite" in run.run["error"]
    assert "steps 1 to 10" in run.run["error"]
    assert run.run["error"] in run.err
    assert "; try optim.lr=0.1, clip_norm=1, schedule=warmup_cosine or another norm\n" in run.err
    assert len(run.err.splitlines()) <= 5
    assert finite(run.directory)
    assert not (run.directory / "summary.json").exists()


BROKEN = '''
import jax, jax.numpy as jnp
from flax import nnx
from dlrun.models.mlp import MLP


@jax.custom_vjp
def poison(x, now):
    return x

poison.defvjp(lambda x, now: (x, now), lambda now, g: (jnp.where(now, jnp.nan, g), None))


class Broken(MLP):
    """Like MLP, but something breaks once the counter reaches ``at``: the output of a layer, or its gradient."""

    def __init__(self, inputs, outputs, parts, rngs, *, what: str = "layer", at: int = 25):
        super().__init__(inputs, outputs, parts, rngs, widths=[8, 8])
        self.count = nnx.BatchStat(jnp.float32(0))
        self.what, self.at = what, at
        self.deterministic = False

    def __call__(self, x):
        if not self.deterministic:
            self.count[...] += 1
        now = self.count[...] >= self.at
        x = x.reshape(x.shape[0], -1)
        x = self.hidden[0](x)
        if self.what == "layer":
            self.hidden[1].linear.kernel[...] = jnp.where(now, jnp.inf, self.hidden[1].linear.kernel[...])
        if self.what == "gradient":
            x = poison(x, now)
        if self.what == "statistic":
            self.hidden[1].norm.mean[...] = jnp.where(now, jnp.nan, self.hidden[1].norm.mean[...])
        return self.output(self.hidden[1](x))
'''


@pytest.fixture
def broken(own_folder, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    (own_folder / "conf" / "model").mkdir(parents=True)
    (own_folder / "conf" / "model" / "broken.yaml").write_text("name: broken:Broken\nwhat: layer\nat: 25\n")
    (own_folder / "broken.py").write_text(BROKEN)
    return ("--config-dir", "conf", "--trust", "broken", "model=broken")


@pytest.mark.parametrize(("what", "named"), [
    ("layer", "the loss (first in the output of hidden.1.linear)"),
    ("gradient", "the gradient of hidden.0.linear"),
    ("statistic", "the statistic hidden.1.norm.mean"),
])  # fmt: skip
def test_the_quantity_the_layer_and_the_step_are_named(dlrun, broken, what, named):
    words = (*broken, f"model.what={what}", "epochs=3", "log.plot=false", "checkpoint.every=10steps", "log.every=10")
    run = dlrun(*words)
    assert run.code == 1, run.err
    error = run.run["error"]
    assert named in error
    assert "at step 25" in error
    assert "within steps 21 to 30" in error
    assert "Traceback" not in run.err
    assert finite(run.directory)
    assert manifest.sound(run.directory / "checkpoints")[-1] == 20


def test_a_step_that_is_known_is_said_once(dlrun, broken):
    words = (
        *broken,
        "model.what=layer",
        "epochs=null",
        "steps=26",
        "log.plot=false",
        "eval.every=24steps",
        "log.every=1",
    )
    error = dlrun(*words).run["error"]
    assert error.endswith("is not finite at step 25"), error


def test_skipping_goes_on_up_to_a_limit(dlrun):
    words = (*QUICK, "epochs=3", "optim=sgd", "optim.lr=1e30", "norm=none", "schedule=constant", "on_nonfinite=skip")
    few = dlrun(*words, "max_skipped=5")
    assert (few.code, few.run["status"]) == (1, "diverged")
    many = dlrun(*words, "max_skipped=1000")
    assert many.rows[-1]["step"] == 60, "training went on to the end"
    assert (many.code, many.run["status"]) == (1, "diverged"), "but its outputs are no result"
    assert "test: the outputs of 359 of 359 examples (100.0 %) are not finite" in many.run["error"]
    assert all(r.get("loss") is None or np.isfinite(r["loss"]) for r in many.rows)


def test_float16_overflow_lowers_the_scale_and_goes_on(dlrun):
    run = dlrun(*QUICK, "precision=float16", "epochs=3", "log.every=10", "optim.lr=1e-2")
    assert run.code == 0
    scales = [r["loss_scale"] for r in run.rows if r["split"] == "train"]
    assert all(1 <= s <= 2**24 for s in scales)
    assert run.summary["val/accuracy"] > 0.6


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_as_well(dlrun, precision):
    words = ("model.widths=[32]", "epochs=4", "log.plot=false", "optim.lr=3e-3")
    full, half = dlrun(*words), dlrun(*words, f"precision={precision}")
    assert half.code == 0
    assert abs(half.summary["test/accuracy"] - full.summary["test/accuracy"]) < 0.03
    assert jnp.dtype(precision).itemsize == 2
