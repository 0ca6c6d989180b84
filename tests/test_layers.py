"""Dependencies point one way: nn <- models; components <- step <- setup <- engine <- train <- run <- sweep <- cli."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dlrun

ROOT = Path(dlrun.__file__).parent

# A layer may import from itself and from the layers before it. What stands outside may be imported from anywhere.
LAYERS = [
    ["nn"],
    ["models", "data", "losses", "loss_scale", "optim", "schedules"],
    ["metrics"],
    ["step", "snapshot"],
    ["plan", "setup"],
    ["diagnose", "engine"],
    ["alone", "stack"],
    ["train"],
    ["run"],
    ["sweep"],
    ["resuming"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
LIGHT = (
    "rundir", "listing", "catalogue", "help", "showing", "completion", "schema", "settings", "arguments", "cli",
    "compare.loading", "compare.diff", "compare.glance", "prune", "thinning", "states", "standing", "watching",
    "homes", "isolation",
)  # fmt: skip
HYDRA = ("hydra", "omegaconf", "antlr4")


def imports(file: Path) -> set[str]:
    """Full names of the modules that a file imports, inside its functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


MODULES = {".".join(file.relative_to(ROOT).with_suffix("").parts): imports(file) for file in ROOT.rglob("*.py")}


def level(module: str) -> int | None:
    return LEVEL.get(module.split(".")[0])


@pytest.mark.parametrize("module", [m for m in MODULES if level(m) is not None])
def test_imports_point_downwards(module: str) -> None:
    ours = [name.removeprefix("dlrun.") for name in MODULES[module] if name.startswith("dlrun.")]
    upwards = [name for name in ours if level(name) is not None and level(name) > level(module)]  # pyright: ignore
    assert upwards == []


def test_models_know_nn_alone() -> None:
    allowed = ("dlrun.nn.", "dlrun.models.", "dlrun.schema.")
    for module in [m for m in MODULES if m.startswith("models.")]:
        assert [n for n in MODULES[module] if n.startswith("dlrun.") and not n.startswith(allowed)] == []


def test_who_knows_hydra() -> None:
    knowing = {m for m, names in MODULES.items() if any(n.split(".")[0] in HYDRA for n in names)}
    assert {m for m in knowing if not m.startswith("sweep.")} == {"config", "ignored"}
    # Hydra's sweep syntax, its launchers, and what it writes; what trains a sweep's runs, here or elsewhere, does not.
    assert knowing - {"config", "ignored"} == {
        "sweep." + m for m in ("best", "composing", "domain", "foreign", "job", "naming", "space", "tuning")
    }


def test_light_modules_import_neither_jax_nor_hydra() -> None:
    names = [f"dlrun.{m}" for m in LIGHT if m in MODULES]
    assert len(names) == len(LIGHT)
    heavy = "{'jax', 'flax', 'hydra', 'omegaconf', 'numpy', 'matplotlib'}"
    code = f"import sys, {', '.join(names)}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
