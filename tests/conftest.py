"""Tests are stricter than users: warnings are errors (pyproject.toml), every test runs in an empty folder."""

import copy
import gc
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import absl.logging
import jaxlib
import numpy as np
import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource

from dlrun.config import catalogue
from dlrun.config.settings import Settings
from dlrun.program import devices

UNOPTIMISED = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
}
if jaxlib.__version__.startswith("0.10."):  # later ones have no other way, and refuse the flag
    UNOPTIMISED["xla_cpu_use_fusion_emitters"] = False  # they alone take more than half of a compilation


@pytest.hookimpl(optionalhook=True)  # where xdist is installed
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests also wait, for processes that they start and for time to pass."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Quick tests compile more than they compute: a third of their time. The slow ones compile as users do."""
    gc.set_threshold(50_000, 50, 100)  # as the program does: the tests take 6% less
    if config.option.markexpr == "not slow":
        os.environ.setdefault("XLA_FLAGS", " ".join(f"--{k}={str(v).lower()}" for k, v in UNOPTIMISED.items()))


@pytest.fixture(autouse=True, scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One compilation cache for all workers of a session, away from the user's; what tests compile is in it too."""
    base = tmp_path_factory.getbasetemp()
    os.environ["XDG_CACHE_HOME"] = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache")
    devices.initialize(Settings())


@pytest.fixture(autouse=True, scope="session")
def packaged_files_are_parsed_once() -> Iterator[None]:
    """Hydra parses the files of conf/ and its own anew at each composition: a fifth of the time of one."""
    packaged = {str(catalogue.conf()), "hydra.conf"}  # a test's own folders are read anew
    with pytest.MonkeyPatch.context() as patch:
        for source in Plugins.instance().discover(ConfigSource):
            patch.setattr(source, "load_config", _parsed_once(source.load_config, packaged))
        yield


def _parsed_once(load: Callable[..., Any], packaged: set[str]) -> Callable[..., Any]:
    known: dict[tuple[str, str], Any] = {}

    def load_config(source: ConfigSource, config_path: str) -> Any:
        if source.path not in packaged:
            return load(source, config_path)
        if (source.path, config_path) not in known:
            known[source.path, config_path] = load(source, config_path)
        return copy.deepcopy(known[source.path, config_path])  # Hydra writes into what it is given

    return load_config


@pytest.fixture(autouse=True, scope="session")
def absl_leaves_streams_alone() -> None:
    """Each run configures logging anew, which closes all handlers; absl's would close the stream that pytest reads."""
    absl.logging.get_absl_handler().python_handler.stream = io.StringIO()


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DLRUN_TRUST", raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def own_numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers that a test draws from its file's RANDOM do not depend on which tests ran before it."""
    if hasattr(request.module, "RANDOM"):
        monkeypatch.setattr(request.module, "RANDOM", np.random.default_rng(0))


@dataclass(frozen=True)
class Outcome:
    """What a command did: exit code, what it printed, and the run directory it named."""

    code: int
    out: str
    err: str

    @property
    def directory(self) -> Path:
        return Path(self.out.splitlines()[-1])

    @property
    def run(self) -> dict[str, Any]:
        return json.loads((self.directory / "run.json").read_text())

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.directory / "summary.json").read_text())

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def dlrun(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``dlrun`` within this process."""

    def call(*words: str) -> Outcome:
        from dlrun.cli.main import main

        capsys.readouterr()
        code = main(list(words))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def trained() -> dict[tuple[str, ...], tuple[Outcome, Path]]:
    """What ``finished`` keeps: by its words what a run gave, and a copy of its directory."""
    return {}


@pytest.fixture
def finished(
    dlrun: Callable[..., Outcome], trained: dict[Any, Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Outcome]:
    """``dlrun`` for a run that a test only begins with: the same words are trained once, and copied from then on.

    What else the run reads must be the same too, such as files of data.
    """

    def call(*words: str) -> Outcome:
        if words in trained:
            outcome, kept = trained[words]
            shutil.copytree(kept, outcome.directory)
            return outcome
        outcome, kept = dlrun(*words), tmp_path_factory.mktemp("trained") / "run"
        assert outcome.code == 0, outcome.err
        shutil.copytree(outcome.directory, kept)
        trained[words] = outcome, kept
        return outcome

    return call


@pytest.fixture
def shell() -> Callable[..., Outcome]:
    """``dlrun`` as a process of its own."""

    def call(*words: str, timeout: float = 300, **env: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "dlrun", *words],
            capture_output=True, text=True, timeout=timeout, env={**os.environ, **env},
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


QUICK = ("model.widths=[16]", "epochs=1", "log.plot=false")
"""The quickest run there is, on digits."""
