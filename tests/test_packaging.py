"""What is installed: a wheel that carries the configs, an sdist that builds the same wheel, an editable checkout.

And what is written about it: the pinned versions, the README's account of a run directory. Packages are installed into
environments that borrow everything else from this one, so that nothing is fetched.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dlrun.config import catalogue, components
from tests.conftest import QUICK
from tests.system.test_compiler import VERSIONS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def files(folder: str, *patterns: str) -> set[str]:
    """Files of the source tree below a folder, relative to the root."""
    return {p.relative_to(ROOT).as_posix() for pattern in patterns for p in (ROOT / folder).rglob(pattern)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree that a test may change."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("dlrun", "conf", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "outputs"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, copy)
    return copy


def build(kind: str, source: Path, into: Path) -> Path:
    """Builds a ``wheel``, ``sdist`` or ``editable`` wheel with the project's backend."""
    pytest.importorskip("hatchling")
    into.mkdir(parents=True, exist_ok=True)
    code = f"from hatchling.build import build_{kind} as build; print(build({str(into)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@dataclass(frozen=True)
class Environment:
    """A virtual environment with dlrun installed in it, and this one's packages behind it."""

    folder: Path

    @property
    def packages(self) -> Path:
        return Path(sysconfig.get_path("purelib", vars={"base": str(self.folder), "platbase": str(self.folder)}))

    def dlrun(self, *words: str, cwd: Path) -> str:
        """Standard output of ``dlrun`` as a person in this environment starts it."""
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        script = self.folder / "bin" / "dlrun"
        done = subprocess.run([script, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout


def install(wheel: Path, folder: Path) -> Environment:
    venv.create(folder, symlinks=True)
    environment = Environment(folder)
    # A folder named by a .pth file is searched last, and its own .pth files (an editable dlrun's, say) are not read.
    borrowed = {sysconfig.get_path(p) for p in ("purelib", "platlib")}
    (environment.packages / "borrowed.pth").write_text("\n".join(borrowed))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q"]
    done = subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return environment


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_wheel_holds_the_package_and_the_configs_and_nothing_else(wheel: Path) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    assert names == files("dlrun", "*.py", "py.typed", "web/*") | {f"dlrun/{name}" for name in files("conf", "*.yaml")}
    assert any(n.endswith("licenses/LICENSE") for n in zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
def test_sdist_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", source, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert (unpacked / "tests" / "conftest.py").is_file()
    assert (unpacked / "constraints.txt").is_file()
    assert build("wheel", unpacked, tmp_path / "wheel").read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_installed_wheel_trains_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    environment = install(wheel, tmp_path / "venv")
    # What some other package leaves at the top of site-packages is not taken for a checkout's conf/.
    stray = environment.packages / "conf"
    stray.mkdir()
    (stray / "config.yaml").write_text("seed: 0\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    directory = empty / environment.dlrun(*QUICK, cwd=empty).splitlines()[-1]
    assert json.loads((directory / "run.json").read_text())["status"] == "completed"
    assert [p.name for p in empty.iterdir()] == ["outputs"]
    assert str(environment.packages) in _where(environment, empty)


@pytest.mark.slow
def test_editable_install_reads_the_checkout(source: Path, tmp_path: Path) -> None:
    checkout = shutil.copytree(source, tmp_path / "checkout")
    environment = install(build("editable", checkout, tmp_path / "wheel"), tmp_path / "venv")
    config = checkout / "conf" / "config.yaml"
    text = config.read_text()
    config.write_text(re.sub(r"^epochs: \d+", "epochs: 12345", text, flags=re.MULTILINE))
    (checkout / "conf" / "act" / "fresh.yaml").write_text("# Not there when the package was built.\nname: relu\n")
    printed = environment.dlrun("--cfg", "job", "act=fresh", cwd=tmp_path)
    assert "epochs: 12345" in printed
    assert str(checkout) in _where(environment, tmp_path)


def _where(environment: Environment, cwd: Path) -> str:
    """Where an environment's dlrun and its configs lie."""
    code = "import dlrun.config.catalogue as c; print(c.__file__, c.conf())"
    command = [environment.folder / "bin" / "python", "-I", "-c", code]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=True).stdout


PYTHONS = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if c.startswith("Programming Language :: Python ::")]


def requirements(python: str) -> list[Requirement]:
    """What a Python is to have, extras included."""
    extras = [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
    found = [r for r in map(Requirement, [*PROJECT["dependencies"], *extras]) if r.name != "dlrun"]
    return [r for r in found if r.marker is None or r.marker.evaluate({"python_version": python})]


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_every_requirement_within_its_range(python: str) -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines == sorted(lines, key=str.lower)
    assert all(re.fullmatch(r'[\w.-]+==[\w.]+( ; python_version (<|>=) "3.12")?', line) for line in lines)
    here = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate({"python_version": python})]
    pins = {canonicalize_name(r.name): next(iter(r.specifier)).version for r in here}
    assert len(pins) == len(here)
    wanted = requirements(python)
    assert [str(r) for r in wanted if not r.specifier.contains(pins.get(canonicalize_name(r.name), "0"))] == []


@pytest.mark.parametrize(("jaxlib", "flax", "why"), VERSIONS)
def test_ranges_hold_what_is_sound_and_nothing_that_is_refused(jaxlib: str, flax: str, why: str | None) -> None:
    given = {"jax": jaxlib, "jaxlib": jaxlib, "flax": flax}

    def takes(python: str) -> bool:
        asked = [r for r in requirements(python) if r.name in given and r.specifier]
        assert {r.name for r in asked} == given.keys()
        return all(r.specifier.contains(given[r.name]) for r in asked)

    assert any(map(takes, PYTHONS)) == (why is None)


def test_python_versions_agree() -> None:
    """The range, the classifiers and the README name the same versions of Python."""
    assert PROJECT["requires-python"] == f">={PYTHONS[0]},<3.{int(PYTHONS[-1].split('.')[1]) + 1}"
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in (ROOT / "README.md").read_text()


def table(heading: str) -> set[str]:
    """The names in the first column of the README's table below a heading: ``a`` or ``a``, ``b`` a row."""
    text = (ROOT / "README.md").read_text()
    section = text.split(f"\n#### {heading}\n")[1].split("\n#")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_readme_knows_every_file_and_field_of_a_run(dlrun) -> None:
    outcome = dlrun(*QUICK[:2], "log.every=5", "precision=float16")
    assert set(outcome.run) == table("run.json") - {"resumed", "teacher", "mlflow_run", "mlflow_uri", "wandb_run"}
    others = {"top5", "rmse", "mae", "r2", "perplexity", "bits_per_character", "nonfinite"}  # of others than this one
    assert set(outcome.rows[0]) | set(outcome.rows[-2]) == table("metrics.jsonl") - others
    keys = {re.sub(r"^(train|val|test|best/val)/\w+$", r"\1/<metric>", key) for key in outcome.summary}
    assert keys == table("summary.json")
    there = {p.name + "/" * p.is_dir() for p in outcome.directory.iterdir()}
    assert there == table("Files") - {"history/<n>/", "metrics.csv", "tensorboard/", "wandb/"}


def test_readme_names_every_option() -> None:
    section = (ROOT / "README.md").read_text().split("\n### What there is to choose\n")[1].split("\n### ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE))
    assert set(rows) == set(components.HOMES)
    for group, text in rows.items():
        named = {name for name in re.findall(r"`([^`]+)`", text) if "." not in name}
        assert named == set(catalogue.options(group, [catalogue.conf()])), group
