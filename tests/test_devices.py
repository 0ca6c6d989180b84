"""Several devices and several processes give the results of one, to rounding."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

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
from dlrun import config, plan, setup, step
from dlrun.engine import Engine
from functools import partial
def averages(devices):
    words = ["model.widths=[8]", f"devices={devices}", "compile_cache=null"]
    values = config.plain(config.compose(config.loader([]), words)[0])[0]
    s = setup.prepare(plan.plan(values))
    state = Engine(s).start(s.plan)
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
