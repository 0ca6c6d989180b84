"""Learning from a teacher's run directory."""

import contextlib
import hashlib
import io
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlrun.cli.main import main
from dlrun.data.features import inputs
from dlrun.errors import InvalidConfig
from dlrun.objective.losses import cross_entropy, distillation
from dlrun.program import trained_model
from dlrun.program.teacher import restandardised
from tests.conftest import QUICK, Outcome
from tests.digest import digest
from tests.tiny import assert_gradient

RANDOM = np.random.default_rng(0)
Z, TEACHER = RANDOM.normal(0, 2, (2, 7, 4)).astype(np.float32)
LABELS = RANDOM.integers(0, 4, 7).astype(np.int32)


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 1.0), (4.0, 0.7), (2.0, 0.0)])
def test_loss(temperature: float, share: float) -> None:
    p, q = softmax(Z.astype(float) / temperature), softmax(TEACHER.astype(float) / temperature)
    divergence = (q * np.log(q / p)).sum(1)
    expected = (
        share * temperature**2 * divergence - (1 - share) * np.log(softmax(Z.astype(float)))[np.arange(7), LABELS]
    )
    targets = (jnp.asarray(LABELS), jnp.asarray(TEACHER))
    found = distillation(jnp.asarray(Z), targets, 0.0, temperature=temperature, share=share)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(
        distillation(jnp.asarray(Z), targets[0], 0.1), cross_entropy(jnp.asarray(Z), targets[0], 0.1)
    )


def test_gradient_is_zero_where_the_student_is_the_teacher() -> None:
    targets = (jnp.asarray(LABELS), jnp.asarray(Z))
    grad = jax.grad(lambda z: distillation(z, targets, 0.0, temperature=3.0, share=1.0).sum())(jnp.asarray(Z))
    np.testing.assert_allclose(grad, 0, atol=1e-6)


def test_gradient_in_float64() -> None:
    with jax.enable_x64(True):
        targets = (jnp.asarray(LABELS), jnp.asarray(TEACHER, jnp.float64))

        def f(z):
            return distillation(z, targets, 0.1, temperature=3.0, share=0.7).sum()

        assert_gradient(f, jnp.asarray(Z, jnp.float64))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    words = ["model.widths=[32]", "epochs=8", "log.plot=false", "optim.lr=5e-3", "ema=0.9"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = main([*words, f"hydra.run.dir={tmp_path_factory.mktemp('teacher')}/run"])
    assert code == 0
    return Outcome(code, out.getvalue(), "")


def test_a_student_of_labels_it_never_sees(dlrun, teacher):
    # With share=1 nothing but the teacher tells the classes.
    words = ("model.widths=[24]", "epochs=6", "log.plot=false", "optim.lr=1e-2", "augment=noise")
    run = dlrun(*words, "loss=distillation", f"loss.teacher={teacher.directory}", "loss.share=1")
    assert run.code == 0, run.err
    assert run.summary["test/accuracy"] > 0.85
    again = dlrun(*words, "loss=distillation", f"loss.teacher={teacher.directory}", "loss.share=1")
    assert digest(run.directory) == digest(again.directory)


def test_the_rebuilt_teacher_gives_the_outputs_of_its_own_run(teacher):
    from dlrun.data.sources.digits import digits

    found = trained_model.load(teacher.directory)
    rows = digits().train
    x = inputs(found.data, rows.x)
    arrays = {"params": found.params, "variables": found.variables}
    right = np.argmax(found.outputs(arrays, jnp.asarray(x)), 1) == rows.y
    assert found.step == teacher.summary["best/step"]
    manifest = teacher.directory / "checkpoints" / str(found.step) / "manifest.sha256"
    assert found.identity == {"step": found.step, "sha256": hashlib.sha256(manifest.read_bytes()).hexdigest()}
    test, val = teacher.run["rows"]["test"], teacher.run["rows"]["val"]
    least = teacher.summary["test/accuracy"] * test + teacher.summary["best/val/accuracy"] * val
    assert right.sum() >= least, "all of its test and validation rows are among these"


def test_a_teacher_sees_what_it_was_trained_on_whatever_the_students_moments(teacher):
    found = trained_model.load(teacher.directory)
    arrays = {"params": found.params, "variables": found.variables}
    raw = RANDOM.uniform(0, 16, (5, 8, 8, 1))
    student = {**found.data, "input_mean": [1000.0], "input_std": [300.0]}
    between = restandardised(student, found.data)
    expected = found.outputs(arrays, jnp.asarray(inputs(found.data, raw)))
    given = found.outputs({**arrays, "inputs": between}, jnp.asarray(inputs(student, raw)))
    np.testing.assert_allclose(given, expected, rtol=1e-3, atol=1e-3)
    same = restandardised(found.data, found.data)
    assert (same["scale"], same["shift"]) == (1, 0)


def test_a_teacher_of_rows_that_were_encoded_otherwise(dlrun, own_folder):
    lines = [f"{i % 7},{'abc'[i % 3]},{'no' if i % 2 else 'yes'}\n" for i in range(60)]
    (own_folder / "t.csv").write_text("n,c,y\n" + "".join(lines))
    words = ("data=table", "data.path=t.csv", "data.target=y", *QUICK, "batch_size=16")
    taught = dlrun(*words)
    assert taught.code == 0, taught.err
    again = (*words, "loss=distillation", f"loss.teacher={taught.directory}")
    assert dlrun(*again).code == 0
    (own_folder / "t.csv").write_text("n,c,y\n" + "".join(lines).replace("c", "d"))
    refused = dlrun(*again)
    assert refused.code == 2
    assert "must be a run on the same data with the same split: its encoder differs" in refused.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("", "loss.teacher=null: must be the directory of a run to learn from"),
        (
            "loss.teacher=nowhere",
            "loss.teacher=nowhere: must hold a model that can be rebuilt; nowhere: not a run directory",
        ),
        ("loss.teacher=DIR data=wine", "must be a run on the same data: it takes images of 8x8x1"),
        ("loss.teacher=DIR data=diabetes", "loss=distillation: must be another loss"),
    ],
)
def test_what_is_no_teacher(dlrun, teacher, own_folder, change, message):
    before = sorted(own_folder.rglob("*"))
    done = dlrun("loss=distillation", *change.replace("DIR", str(teacher.directory)).split())
    assert done.code == 2
    assert message in done.err
    assert sorted(own_folder.rglob("*")) == before


def test_a_teacher_that_trained_on_ends_a_resumed_run(dlrun, teacher):
    words = ("model.widths=[8]", "epochs=1", "log.plot=false", "loss=distillation", "optim.lr=1e-2")
    run = dlrun(*words, f"loss.teacher={teacher.directory}")
    assert run.run["teacher"]["step"] == teacher.summary["best/step"]
    assert re.fullmatch("[0-9a-f]{64}", run.run["teacher"]["sha256"])
    again = dlrun("resume", str(run.directory), "epochs=2")
    assert again.code == 0, again.err
    assert again.run["teacher"] == run.run["teacher"]

    assert dlrun("resume", str(teacher.directory), "epochs=12", "optim.lr=1e-4").code == 0
    before = digest(run.directory), run.run
    refused = dlrun("resume", str(run.directory), "epochs=3")
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert f"loss.teacher={teacher.directory}"[:50] in refused.err
    assert f"its weights, of step {before[1]['teacher']['step']} then, have changed: start a new run" in refused.err
    assert (digest(run.directory), run.run) == before


def test_damage_is_told(dlrun):
    run = dlrun(*QUICK)
    for step in (run.directory / "checkpoints").iterdir():
        (step / "state.safetensors").unlink()
    with pytest.raises(InvalidConfig, match="no saved state"):
        trained_model.load(run.directory)
