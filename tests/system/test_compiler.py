"""The compiler at hand computes right numbers, as users run it; versions that don't are refused."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlrun.errors import InvalidConfig
from dlrun.system import compiler
from tests.probes import PROBES

ROOT = Path(__file__).parents[2]
LIMITS = {"compiled": 5e-6, "op by op": 5e-6, "in float64": 5e-14}
"""Rounding of sums of up to a million numbers; what compilers got wrong was off by 1e-3 and more."""


def probed(*names: str, flags: str = "") -> subprocess.CompletedProcess[str]:
    """The probes in a process without the tests' flags for the compiler."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "tests.probes", *names],
        capture_output=True, text=True, timeout=500, cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip


@pytest.mark.slow  # .ci/run has these by their file too, with other versions
def test_probes():
    done = probed()
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"crashed in {[*PROBES][len(found)]}: {done.stderr[-1000:]}"
    assert [row["name"] for row in found] == [*PROBES]
    assert [row for row in found if any(row[how] > limit for how, limit in LIMITS.items())] == []


@pytest.mark.skipif(importlib.metadata.version("jaxlib") not in compiler.FLAGS, reason="needs no flag")
def test_without_the_flag_the_probes_find_the_fault():
    flag = compiler.FLAGS[importlib.metadata.version("jaxlib")]
    done = probed("product_then_squares", flags=flag.replace("=-", "=+"))  # set by the user, so none of our doing
    found = json.loads(done.stdout)
    assert found["compiled"] > 1e-3
    assert found["in float64"] > 1e-3


VERSIONS = [
    ("0.10.0", "0.12.8", "jaxlib 0.10.0: not usable: it crashes"),
    ("0.10.1", "0.12.8", "jaxlib 0.10.1: not usable: it crashes"),
    ("0.11.0", "0.12.12", "jaxlib 0.11.0: not usable: it computes wrong numbers"),
    ("0.11.1", "0.12.12", "jaxlib 0.11.1: not usable: it computes wrong numbers"),
    ("0.11.2", "0.12.9", "flax 0.12.9: not usable with jaxlib 0.11.2, which needs 0.12.10 or later"),
    ("0.12.0.1", "0.12.8", "flax 0.12.8: not usable with jaxlib 0.12.0.1, which needs 0.12.10 or later"),
    ("0.10.2", "0.12.8", None),
    ("0.11.2", "0.12.10", None),
    ("0.12.0.1", "0.12.12", None),
]


@pytest.mark.parametrize(("jaxlib", "flax", "why"), VERSIONS)
def test_versions(monkeypatch, jaxlib, flax, why):
    monkeypatch.setattr(importlib.metadata, "version", {"jaxlib": jaxlib, "flax": flax}.__getitem__)
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    if why is None:
        compiler.check()
        assert os.environ["XLA_FLAGS"] == " ".join(
            ["--xla_dump_to=x", *([compiler.FLAGS[jaxlib]] if jaxlib == "0.10.2" else [])]
        )
        return
    with pytest.raises(InvalidConfig) as refused:
        compiler.check()
    assert refused.value.problems[0].startswith(why)
    assert "pip install -c constraints.txt" in refused.value.problems[0]


def test_a_user_s_own_choice_stands(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", {"jaxlib": "0.10.2", "flax": "0.12.8"}.__getitem__)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=dot")
    compiler.check()
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_experimental_ynn_fusion_type=dot"
