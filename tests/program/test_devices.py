"""Several devices and several processes give the results of one, to rounding."""

import json
import os
import socket
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import pytest
from jax.extend import core

from dlrun.optim import optimizers
from dlrun.program import step
from tests import tiny
from tests.conftest import QUICK

WORDS = (
    *("model=cnn", "model.channels=[4,8]", "model.width=16", "epochs=2", "log.every=5", "log.plot=false"),
    *("dropout=0.1", "augment=flip_crop", "optim=sgd", "optim.lr=0.05"),
)


def curve(rows, name):
    return np.array([r[name] for r in rows if name in r])


def same_curves(one, other) -> None:
    assert [(r["step"], r["split"]) for r in one] == [(r["step"], r["split"]) for r in other]
    np.testing.assert_allclose(curve(one, "loss"), curve(other, "loss"), rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(curve(one, "lr"), curve(other, "lr"), rtol=1e-6)


@pytest.mark.slow
def test_four_devices_equal_one(shell):
    four = shell(*WORDS, XLA_FLAGS="--xla_force_host_platform_device_count=4")
    assert four.code == 0, four.err
    assert four.run["devices"] == 4
    one = shell(*WORDS, "devices=1", XLA_FLAGS="--xla_force_host_platform_device_count=4")
    assert one.code == 0, one.err
    same_curves(one.rows, four.rows)
    resumed = shell(
        "resume", str(one.directory), "epochs=3", "devices=4", XLA_FLAGS="--xla_force_host_platform_device_count=4"
    )
    assert resumed.code == 0, resumed.err


@pytest.mark.slow
def test_batch_statistics_are_those_of_the_whole_batch(own_folder):
    """On 4 devices the running averages are those of 64 rows, not of 16."""
    code = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import jax, numpy as np
from flax import nnx
from dlrun.config import composition, plan
from dlrun.program import setup, step
from dlrun.program.compiled import CompiledProgram
from functools import partial
def averages(devices):
    words = ["model.widths=[8]", f"devices={devices}", "compile_cache=null"]
    values = composition.plain(composition.compose(composition.loader([]), words)[0])[0]
    s = setup.prepare(plan.plan(values))
    state = CompiledProgram(s).start(s.plan)
    x = np.asarray(s.data.train.x[:64], np.float32) / 16
    batch = {"x": jax.device_put(x, jax.sharding.NamedSharding(s.mesh, jax.P("batch"))),
             "y": jax.device_put(s.data.train.y[:64], jax.sharding.NamedSharding(s.mesh, jax.P("batch")))}
    new, _ = jax.jit(partial(step.train_step, s.program, s.graphdef))(state, batch)
    return [np.asarray(a) for a in jax.tree.leaves(nnx.filter_state(new.variables, nnx.BatchStat))]
one, four = averages(1), averages(4)
assert len(one) == 2
for a, b in zip(one, four, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.slow
def test_two_processes_equal_one(shell, own_folder):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    words = (
        *WORDS,
        f"distributed.coordinator=127.0.0.1:{port}",
        "distributed.processes=2",
        f"hydra.run.dir={own_folder}/two",
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dlrun", *words, f"distributed.process={n}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        for n in range(2)
    ]  # fmt: skip
    outcomes = [p.communicate(timeout=300) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], outcomes
    assert outcomes[0][0].splitlines()[-1] == f"{own_folder}/two"
    assert str(own_folder) not in outcomes[1][0], "only the first process names the directory"
    one = shell(*WORDS)
    rows = [json.loads(line) for line in (own_folder / "two" / "metrics.jsonl").read_text().splitlines()]
    same_curves(one.rows, rows)
    assert json.loads((own_folder / "two" / "run.json").read_text())["processes"] == 2


@pytest.mark.parametrize(("asked", "stands_for"), [("float32", "HIGHEST"), ("tensorfloat32", "HIGH")])
@pytest.mark.parametrize("model", ["mlp", "cnn", "lstm", "transformer"])
def test_products_of_float32_are_computed_as_asked(model, asked, stands_for):
    """Forward, backward and the optimizer's, of the traced step: a GPU goes by nothing else."""
    program = tiny.program(model, matmul_precision=asked, optim=optimizers.muon)
    numbers = tiny.numbers(optim__weight_decay=0, optim__momentum=0.9)
    graphdef, state = tiny.start(program, numbers)
    traced = jax.make_jaxpr(partial(step.train_step, program, graphdef))(state, tiny.batch())
    found = [
        eqn.params["precision"]
        for eqn in every_equation(traced.jaxpr)
        if eqn.primitive.name in ("dot_general", "conv_general_dilated")
    ]
    assert len(found) > 8
    assert {str(getattr(p, "name", p)) for pair in found for p in pair or [None]} == {stands_for}


def every_equation(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in core.jaxprs_in_params(eqn.params):
            yield from every_equation(inner)


@pytest.mark.parametrize(("words", "function", "deterministic"), [
    (["seed=0"], "train_steps", True),
    pytest.param(["seed=0"], "train_steps", False, marks=pytest.mark.slow),
    pytest.param(["-m", "seed=0,1"], "train_all", True, marks=pytest.mark.slow),
    pytest.param(["-m", "seed=0,1"], "train_all", False, marks=pytest.mark.slow),
])  # fmt: skip
@pytest.mark.slow
def test_a_deterministic_run_tells_the_compiler(shell, tmp_path, words, function, deterministic):
    words = [*QUICK, f"deterministic={deterministic}", "compile_cache=null", *words]
    outcome = shell(*words, XLA_FLAGS=f"--xla_dump_to={tmp_path / 'dump'}")
    assert outcome.code == 0, outcome.err
    told = [file.read_text() for file in (tmp_path / "dump").glob(f"*jit_{function}*debug_options")]
    assert told
    assert all(("xla_gpu_deterministic_ops: true" in text) == deterministic for text in told)


def test_what_does_nothing_on_a_cpu_is_said(dlrun):
    outcome = dlrun(*QUICK, "matmul_precision=tensorfloat32")
    assert "warning: matmul_precision=tensorfloat32 does nothing on a CPU" in outcome.err
    assert outcome.run["matmul_precision"] == "float32"
    assert outcome.run["config"]["matmul_precision"] == "tensorfloat32"
    assert "warning" not in dlrun(*QUICK, "deterministic=true").err  # a CPU's runs repeat anyway
