"""The folders of dlrun stand on floors: imports point downwards, in no circle, and reading a run needs no JAX."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import dlrun
from dlrun.cli.flags import TOOLS
from dlrun.config.components import HOMES
from dlrun.sweep.launchers.base import TRAINS

ROOT = Path(dlrun.__file__).parent
FLOORS = [
    ["errors"],
    ["system"],
    ["runs"],
    ["display", "config"],
    ["compare", "nn", "optim"],
    ["models", "data"],
    ["objective"],
    ["program"],
    ["check"],
    ["train"],
    ["sweep"],
    ["cli"],
]
"""A folder imports from itself and from floors that come before its own; never from one on its own floor."""
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
ONLY = {"display": ["runs", "errors"], "compare": ["display", "runs", "errors"]}
"""Folders that import less than their floor would allow: what reads runs knows nothing of how they are made."""
TOP = {"__init__.py", "__main__.py", "py.typed", "errors.py", "parts.py"}
LONGEST, MOST = 300, 17
HEAVY = ("jax", "flax", "hydra", "omegaconf", "numpy", "scipy", "matplotlib", "pandas", "rich")
LIGHT = ("errors", "system.isolation", "system.user_folders", "config.catalogue", "config.schema", "config.settings")
"""Modules that every command imports, beside the folders ``cli`` and ``runs``."""
KNOWN_TO_ONE = {"hydra": "dlrun.config.hydra_adapter", "optuna": "dlrun.sweep.search.study"}
"""Libraries that a single file imports, since it uses what they keep to themselves; with that file."""


def name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = {name(file): file for file in sorted(ROOT.rglob("*.py"))}


def imports(file: Path) -> set[str]:
    """Full names of the modules that a file imports, inside its functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            full = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {whole if whole in FILES else str(node.module) for whole in full.values()}
    return found


IMPORTS = {module: imports(file) for module, file in FILES.items()}


def folder(module: str) -> str | None:
    """The room at the top of dlrun that a module is in."""
    _, _, below = module.partition(".")
    return below.split(".")[0] if below.split(".")[0] in FLOOR else None


@pytest.mark.parametrize("module", [module for module in FILES if folder(module)])
def test_imports_point_downwards(module: str) -> None:
    own = folder(module)
    assert own is not None
    others = {there for name in IMPORTS[module] if name.startswith("dlrun.") and (there := folder(name)) != own}
    assert {there for there in others if there is None or FLOOR[there] >= FLOOR[own]} == set()
    assert own not in ONLY or others <= {*ONLY[own]}


def test_every_folder_has_its_floor() -> None:
    assert {path.stem for path in ROOT.iterdir() if path.suffix != ".typed"} - {"__init__", "__main__", "__pycache__"} \
        == {*FLOOR, "parts"}  # fmt: skip


def test_no_circle() -> None:
    graph = {module: {name for name in names if name in FILES} - {module} for module, names in IMPORTS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_circle_of_folders() -> None:
    """A module at the top stands for itself."""
    packages = {module for module, file in FILES.items() if file.stem == "__init__"} - {"dlrun"}

    def home(module: str) -> str:
        parent = module.rpartition(".")[0]
        return parent if module not in packages and parent in packages else module

    graph: dict[str, set[str]] = {}
    for module, names in IMPORTS.items():
        graph.setdefault(home(module), set()).update(home(name) for name in names if name in FILES)
    try:
        TopologicalSorter({folder: names - {folder} for folder, names in graph.items()}).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_models_know_nn_and_what_parts_are_written_with() -> None:
    allowed = ("dlrun.nn.", "dlrun.models.", "dlrun.config.schema", "dlrun.errors")
    for module in [m for m in FILES if m.startswith("dlrun.models.")]:
        assert [n for n in IMPORTS[module] if n.startswith("dlrun.") and not n.startswith(allowed)] == []


def test_the_top_is_tidy() -> None:
    assert {path.name for path in ROOT.iterdir() if path.is_file()} == TOP


def test_folders_and_files_are_small() -> None:
    assert {m: n for m, f in FILES.items() if (n := len(f.read_text().splitlines())) > LONGEST} == {}
    inside = {path: len([f for f in path.glob("*.py") if f.stem != "__init__"]) for path in [ROOT, *ROOT.rglob("*/")]}
    assert {str(path): n for path, n in inside.items() if n > MOST} == {}


@pytest.mark.parametrize("init", [f for f in FILES.values() if f.stem == "__init__"], ids=lambda f: f.parent.name)
def test_every_folder_says_what_lives_there(init: Path) -> None:
    said = ast.get_docstring(ast.parse(init.read_text())) or ""
    assert init.parent == ROOT or len(said.split()) >= 20


@pytest.mark.parametrize(("library", "file"), KNOWN_TO_ONE.items())
def test_one_file_knows_a_library_and_its_private_names(library: str, file: str) -> None:
    assert {m for m, names in IMPORTS.items() if any(n.split(".")[0] == library for n in names)} == {file}
    private = private_names(file)
    assert private != set()
    assert {m: names for m in FILES if m != file and (names := private_names(m) & private)} == {}


def private_names(module: str) -> set[str]:
    """Attributes that start with an underscore and that the file uses without defining them."""
    nodes = [*ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8")))]
    attributes = [n for n in nodes if isinstance(n, ast.Attribute) and re.match("_[^_]", n.attr)]
    defined = {n.name for n in nodes if isinstance(n, ast.FunctionDef)}
    return {n.attr for n in attributes} - {n.attr for n in attributes if isinstance(n.ctx, ast.Store)} - defined


def test_modules_that_are_named_in_text_exist() -> None:
    """Those that are imported only where they are needed, or by another process."""
    assert {*HOMES.values(), *TOOLS.values(), TRAINS} - {*FILES} == set()


def test_omegaconf_is_known_by_its_public_names() -> None:
    assert {n for names in IMPORTS.values() for n in names if n.startswith("omegaconf._")} == set()


def test_what_trains_a_unit_needs_no_hydra() -> None:
    """Each worker process of a sweep starts a tenth of a second sooner."""
    code = "import sys, dlrun.sweep.worker; print(sorted({'hydra', 'omegaconf', 'optuna'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def imported(modules: list[str], of: tuple[str, ...]) -> list[str]:
    """Which of some packages are there once a new process has imported these modules."""
    code = f"import sys, {', '.join(modules)}; print(*sorted({{*{of}}} & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_commands_that_read_import_nothing_heavy() -> None:
    names = [*(f"dlrun.{m}" for m in LIGHT), *(m for m in FILES if folder(m) in ("cli", "runs"))]
    exempt = ("dlrun.runs.checkpoint", "dlrun.cli.resume")  # the one is of arrays, the other composes
    assert imported([n for n in names if n not in exempt], HEAVY) == []


def test_a_configuration_is_checked_without_jax() -> None:
    modules = [m for m in FILES if folder(m) in ("config", "errors") or m == "dlrun.parts"]
    assert "dlrun.config.plan" in modules
    assert imported(modules, ("jax", "flax", "optax", "numpy")) == []
