"""A user's own parts: a YAML file and a Python file in any folder, trusted on the command line."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dlrun.cli import completion
from dlrun.config import components
from tests.conftest import QUICK

SHORT = ("epochs=1", "log.plot=false")

MODEL = '''
from flax import nnx
from dlrun.schema import Count


class Net(nnx.Module):
    """One hidden layer."""

    def __init__(self, inputs, outputs, parts, rngs, *, width: Count = 8, scale: float = 1.0):
        height, breadth, channels = inputs.shape
        self.hidden = nnx.Linear(height * breadth * channels, width, kernel_init=parts.kernel_init, rngs=rngs)
        self.act = parts.act(width, rngs)
        self.output = nnx.Linear(width, outputs, rngs=rngs)
        self.scale = scale

    def __call__(self, x):
        return self.output(self.act(self.hidden(x.reshape(x.shape[0], -1)))) * self.scale
'''

PARTS = """
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.nn.initializers import normal
from dlrun.parts import Dataset, Positive, Rows


def cube(x, *, gain: float = 1.0):
    return gain * jnp.tanh(x) ** 3


def scaled(features, rngs, *, epsilon: float = 1e-3):
    return nnx.RMSNorm(features, epsilon=epsilon, rngs=rngs)


def tiny(activation, *, std: Positive = 0.1):
    return lambda key, shape, dtype=None, out_sharding=None: std * normal(1.0)(key, shape, dtype)


def signs(decay, *, lr: Positive = 1e-3):
    return optax.chain(optax.scale_by_sign(), optax.scale(-lr))


def halving(step, total, peak, *, every: Positive = 10.0):
    return peak * 0.5 ** (step // every)


def shift(key, batch, *, by: int = 1):
    open("traced", "w").close()
    return {**batch, "x": jnp.roll(batch["x"], by, axis=1)}


def blobs(*, rows: int = 60):
    random = np.random.default_rng(0)
    y = np.arange(rows, dtype=np.int32) % 3
    x = random.normal(size=(rows, 4)) + 5 * y[:, None]
    return Dataset("rows", ("a", "b", "c"), Rows(x.astype(np.float32), y))
"""


@pytest.fixture
def own(own_folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Writes options and a module; gives the module's name, a new one for each test as imports are kept."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = "own_" + "".join(c if c.isalnum() else "_" for c in request.node.name)

    def write(code: str, *, beside: str = ".", **options: str) -> str:
        for path, text in options.items():
            group, _, option = path.partition("__")
            file = own_folder / "conf" / group / f"{option}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("MODULE", module))
        folder = own_folder / beside
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{module}.py").write_text(code)
        return module

    return write


def test_a_model(dlrun: Callable, own: Callable, own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = own(MODEL, model__mynet="name: MODULE:Net\nscale: 2.0\n")
    elsewhere = own_folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    # width is a key that the file leaves out: its signature counts.
    done = dlrun("--config-dir", "../conf", "--trust", module, "model=mynet", "act=gelu", "model.width=6", *SHORT)
    assert done.code == 0, done.err
    assert done.run["config"]["model"] == {"name": f"{module}:Net", "width": 6, "scale": 2.0}
    assert done.run["config"]["act"]["name"] == "gelu"
    assert done.run["parameters"] == 64 * 6 + 6 + 6 * 10 + 10
    assert "model.width=6" in (done.directory / ".hydra/overrides.yaml").read_text()


def test_a_model_that_leaves_the_precision_that_was_asked_for_is_told_of(dlrun: Callable, own: Callable) -> None:
    code = MODEL.replace("import Count", "import Count\nimport numpy as np").replace(
        "self.scale = scale", "self.scale = 1"
    )
    promotes = code.replace("self.act(", "np.ones((), np.float32) * self.act(")
    module = own(promotes, model__mynet="name: MODULE:Net\n")
    words = ("--config-dir", "conf", "--trust", module, "model=mynet", *SHORT, "batch_size=32")
    told = [line for line in dlrun(*words, "precision=bfloat16").err.splitlines() if "precision=" in line]
    assert told == [
        "warning: precision=bfloat16: 1 of the model's 2 matrix products and convolutions are not computed in "
        "bfloat16, the first of float32[32,8] and float32[8,10]: a float32 array in the model turns "
        "whatever it is combined with into float32"
    ]
    assert "precision=" not in dlrun(*words).err
    for model in (("transformer", "model.width=8", "model.heads=2", "model.depth=1"), ("cnn", "model.channels=[4]")):
        name, *sizes = model
        short = (*SHORT, "steps=1", "epochs=null", "precision=bfloat16")
        assert "precision=" not in dlrun(f"model={name}", *sizes, *short).err


@pytest.mark.parametrize("beside", [".", "conf", "conf/model"])
def test_where_the_python_file_may_lie(dlrun: Callable, own: Callable, beside: str) -> None:
    module = own(MODEL, beside=beside, model__mynet="name: MODULE:Net\n")
    done = dlrun("--config-dir", "conf", "--trust", module, "model=mynet", "model.width=0")
    assert "model.width=0: not allowed" in done.err  # which only its signature says


def test_every_other_group(dlrun: Callable, own: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        "act__cube": "cube\ngain: 2.0",
        "norm__scaled": "scaled",
        "init__tiny": "tiny\nstd: 0.2",
        "optim__signs": "signs\nlr: 1e-2",
        "schedule__halving": "halving\nevery: 5",
        "data__blobs": "blobs",
        "augment__shift": "shift\nby: 2",
    }
    module = own(PARTS, **{k: f"name: MODULE:{v}\n" for k, v in options.items()})
    monkeypatch.setenv("DLRUN_TRUST", module)
    choices = [k.replace("__", "=") for k in options]
    done = dlrun("--config-dir", "conf", *choices, "batch_size=8", "epochs=4", "model.widths=[8]", "log.plot=false")
    assert done.code == 0, done.err
    config = done.run["config"]
    assert config["act"] == {"name": f"{module}:cube", "gain": 2.0}
    assert config["data"] == {"name": f"{module}:blobs", "rows": 60}
    assert done.run["classes"] == ["a", "b", "c"]
    assert done.summary["test/accuracy"] > 0.9
    lrs = [row["lr"] for row in done.rows if row["split"] == "train"]
    assert lrs[-1] < 1e-2  # the schedule was in force
    assert Path("traced").exists()  # and so was the augmentation


FAILING = """
import jax.numpy as jnp
import optax
from flax import nnx


class Net(nnx.Module):
    def __init__(self, inputs, outputs, parts, rngs, *, wrong: int = 0, more: int = 0):
        self.act = parts.act(64, rngs)
        self.output = nnx.Linear(64 + wrong, outputs + more, rngs=rngs)

    def __call__(self, x):
        return self.output(self.act(x.reshape(len(x), -1)))


def act(x):
    return x @ jnp.ones((3, 3))


def loss(outputs, targets, smoothing):
    return outputs.nothing


def shift(key, batch):
    return {**batch, "x": batch["image"]}


def data():
    raise RuntimeError("no rows today")


def plain(decay, *, lr: float = 1e-3, momentum: float = 0.5):
    return optax.sgd(lr, momentum)


def rateless(decay, *, rate: float = 1e-3):
    return optax.sgd(rate)


def broken(decay, *, lr: float = 1e-3):
    return optax.GradientTransformation(lambda params: (), lambda g, s, p=None: {}["m"])


def vector(step, total, peak):
    return peak * jnp.ones(3)


def branching(step, total, peak):
    return peak if step > 3 else 2 * peak
"""


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ("model=Net model.wrong=1", "your model failed on inputs (8, 8, 1): TypeError: dot_general requires"),
        ("model=Net model.more=2", "must give (B, 10) for inputs (B, 8, 8, 1), B examples; it gives (B, 12)\n"),
        ("act=act", "your activation failed: TypeError: "),
        ("loss=loss", "your loss failed: AttributeError: "),
        ("augment=shift", "your augment failed on inputs (8, 8, 1): KeyError: 'image' (line "),
        ("data=data", "your data source failed: RuntimeError: no rows today (line "),
        ("optim=rateless", "must have a key lr, such as *, lr: Positive = 1e-3: dlrun gives it the scheduled rate\n"),
        ("optim=broken", "your optimizer failed: KeyError: 'm' (line "),
        ("schedule=vector", "must give a number for a step; it gives shape (3,)\n"),
        ("schedule=branching", "your schedule failed: TracerBoolConversionError: "),
    ],
)
def test_a_part_that_fails_is_named_before_anything_is_made(
    dlrun: Callable, own: Callable, own_folder: Path, choice: str, says: str
) -> None:
    group, _, option = choice.split()[0].partition("=")
    module = own(FAILING, **{f"{group}__{option}": f"name: MODULE:{option}\n"})
    done = dlrun("--config-dir", "conf", "--trust", module, *choice.split(), *SHORT)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {group}.name={module}:{option}: {says}"), done.err
    assert len(done.err.splitlines()) == 1
    assert not (own_folder / "outputs").exists()


def test_the_traceback_of_a_part_that_fails_is_shown_if_asked_for(dlrun: Callable, own: Callable) -> None:
    module = own(FAILING, model__Net="name: MODULE:Net\nwrong: 1\n")
    done = dlrun("--debug", "--config-dir", "conf", "--trust", module, "model=Net", *SHORT)
    assert done.code == 2
    assert "return self.output(self.act(x.reshape(len(x), -1)))" in done.err


def test_a_learning_rate_is_in_the_state_whatever_its_type(dlrun: Callable, own: Callable) -> None:
    module = own(FAILING, optim__plain="name: MODULE:plain\n")
    words = ("--config-dir", "conf", "--trust", module, "optim=plain", "schedule=constant", *QUICK)
    done = dlrun(*words, "optim.lr=0.25")
    assert done.code == 0, done.err
    assert {row["lr"] for row in done.rows if row["split"] == "train"} == {0.25}
    refused = dlrun(*words, "optim.lr=null")
    assert (refused.code, refused.err) == (2, "error: optim.lr=null: not allowed; allowed: a number\n")


def test_folders_of_options_may_come_from_the_environment(
    dlrun: Callable, own: Callable, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own("", act__mine="name: tanh\n")
    (own_folder / "more/act").mkdir(parents=True)
    (own_folder / "more/act/mine.yaml").write_text("name: relu\n")
    (own_folder / "more/act/other.yaml").write_text("name: gelu\n")
    monkeypatch.setenv("DLRUN_CONFIG_DIR", f"conf{os.pathsep}more")
    composed = {act: dlrun("--cfg", "job", f"act={act}").out for act in ("mine", "other")}
    assert "act:\n  name: tanh\n" in composed["mine"]
    assert "act:\n  name: gelu\n" in composed["other"]
    assert "act:\n  name: relu\n" in dlrun("--config-dir", "more", "--cfg", "job", "act=mine").out, "the flag's first"
    assert {"act=mine", "act=other"} <= {*completion.candidates([], "act=")}
    monkeypatch.setenv("DLRUN_CONFIG_DIR", "nowhere")
    assert dlrun("act=mine").err == "error: --config-dir nowhere: no such folder\n"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.width=0", "model.width=0: not allowed; allowed: a whole number in [1, 2^31)"),
        ("model.width=abc", "model.width=abc: not allowed"),
        ("model.widht=3", "model.widht: unknown key (did you mean 'width'?); known: width, scale"),
        ("model.scale=true", "model.scale=true: not allowed; allowed: a number"),
    ],
)
def test_signature_is_checked(dlrun: Callable, own: Callable, own_folder: Path, override: str, says: str) -> None:
    module = own(MODEL, model__mynet="name: MODULE:Net\n")
    done = dlrun("--config-dir", "conf", "--trust", module, "model=mynet", override)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert not (own_folder / "outputs").exists()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise RuntimeError('boom')", "importing MODULE failed: RuntimeError: boom"),
        ("import no_such_library", "importing MODULE failed: ModuleNotFoundError: No module named 'no_such_library'"),
        ("def (:", "importing MODULE failed: SyntaxError"),
        ("class Nets: pass", "MODULE has no Net (did you mean 'Nets'?)"),
        ("Net = 3", "MODULE has no Net"),
        ("class Net:\n  def __init__(self, inputs, outputs): ...", "it takes inputs, outputs by position"),
        ("def Net(inputs, outputs, parts, rngs, width=3): ...", "must take inputs, outputs, parts, rngs by position"),
        ("def Net(inputs, outputs, parts, rngs, *, width: 'Undefined' = 3): ...", "name 'Undefined' is not defined"),
    ],
)
def test_faults_of_the_module(dlrun: Callable, own: Callable, own_folder: Path, code: str, says: str) -> None:
    module = own(code, model__mynet="name: MODULE:Net\n")
    done = dlrun("--config-dir", "conf", "--trust", module, "model=mynet")
    assert (done.code, done.out) == (2, "")
    assert says.replace("MODULE", module) in done.err
    assert len(done.err.splitlines()) == 1
    assert not (own_folder / "outputs").exists()


def test_a_helper_is_imported_where_it_is_trusted_too(dlrun: Callable, own: Callable, own_folder: Path) -> None:
    module = own(f"from helper_of_a_test import GAIN\n{MODEL}", model__mynet="name: MODULE:Net\n")
    (own_folder / "helper_of_a_test.py").write_text("GAIN = 2\n")
    words = ("--config-dir", "conf", "--trust", module, "model=mynet", "model.width=0")
    done = dlrun(*words)
    assert done.code == 2
    assert (
        "No module named 'helper_of_a_test'; if it is yours too, allow importing it: --trust helper_of_a_test"
        in done.err
    )
    assert "model.width=0: not allowed" in dlrun(*words, "--trust", "helper_of_a_test").err


def test_data_source_that_gives_something_else(dlrun: Callable, own: Callable) -> None:
    module = own("def rows():\n    return {'x': 1}", data__rows="name: MODULE:rows\n")
    done = dlrun("--config-dir", "conf", "--trust", module, "data=rows")
    assert done.code == 2
    assert f"data.name={module}:rows: must give a dlrun.data.dataset.Dataset, not {{'x': 1}}" in done.err


@pytest.mark.parametrize("trust", [(), ("--trust", "other"), ("--trust", "own"), ("--trust", "")])
def test_never_imported_without_trust(dlrun: Callable, own: Callable, own_folder: Path, trust: tuple[str, ...]) -> None:
    module = own("open('imported', 'w').close()\n" + MODEL, model__mynet="name: MODULE:Net\n")
    done = dlrun("--config-dir", "conf", *trust, "model=mynet")
    assert (done.code, done.out) == (2, "")
    says = f"model.name={module}:Net: not trusted; if the code is yours, allow importing it: --trust {module}"
    assert says in done.err
    assert not (own_folder / "imported").exists()
    assert module not in sys.modules


def test_resume_needs_trust_again(dlrun: Callable, own: Callable) -> None:
    module = own(MODEL, model__mynet="name: MODULE:Net\n")
    words = ("--config-dir", "conf", "--trust", module)
    done = dlrun(*words, "model=mynet", *SHORT)
    assert done.code == 0, done.err
    before = done.directory.joinpath("run.json").read_bytes()
    refused = dlrun("resume", str(done.directory), "epochs=2")
    assert refused.code == 2
    assert f"not trusted; if the code is yours, allow importing it: --trust {module}" in refused.err
    assert done.directory.joinpath("run.json").read_bytes() == before
    assert dlrun(*words, "resume", str(done.directory), "epochs=2").summary["epoch"] == 2


def test_a_config_in_a_run_directory_leads_to_no_import(
    dlrun: Callable, finished: Callable, own: Callable, own_folder: Path
) -> None:
    module = own("open('imported', 'w').close()\n" + PARTS, act__cube="name: MODULE:cube\n")
    done = finished(*QUICK)
    file = done.directory / ".hydra/config.yaml"
    config = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**config, "act": {"name": f"{module}:cube"}}))
    refused = dlrun("resume", str(done.directory), "epochs=2")
    assert refused.code == 2
    assert "not trusted" in refused.err
    assert not (own_folder / "imported").exists()
    file.write_text(yaml.safe_dump({**config, "act": {"name": "relu", "_target_": "os.getcwd"}}))
    refused = dlrun("resume", str(done.directory), "epochs=2")
    assert refused.code == 2
    assert "act._target_=os.getcwd: not allowed" in refused.err


def test_own_option_of_a_packaged_name_wins_with_a_notice(dlrun: Callable, own: Callable) -> None:
    own("", act__relu="name: tanh\n", model__mlp="name: mlp\nwidths: [5]\n", optim__mine="name: sgd\nlr: 0.5\n")
    done = dlrun("--config-dir", "conf", "optim=mine", *SHORT)
    assert done.code == 0, done.err
    config = done.run["config"]
    assert (config["act"]["name"], config["model"]["widths"], config["optim"]["lr"]) == ("tanh", [5], 0.5)
    notices = sorted(line for line in done.err.splitlines() if line.startswith("notice: "))
    assert notices == [
        "notice: conf/act/relu.yaml replaces the packaged act/relu.yaml",
        "notice: conf/model/mlp.yaml replaces the packaged model/mlp.yaml",
    ]


def test_several_folders_the_first_wins(dlrun: Callable, own_folder: Path) -> None:
    for folder, width in ("a", 3), ("b", 4):
        (own_folder / folder / "model").mkdir(parents=True)
        (own_folder / folder / "model" / "wide.yaml").write_text(f"name: mlp\nwidths: [{width}]\n")
    done = dlrun("--config-dir", "a", "--config-dir=b", "--cfg", "job", "model=wide")
    assert "widths:\n  - 3" in done.out


def test_own_groups_of_keys_are_refused(dlrun: Callable, own: Callable) -> None:
    own("", mystery__x="name: y\n")
    assert "mystery: unknown key" in dlrun("--config-dir", "conf", "+mystery=x").err


def test_flags_and_the_environment_name_what_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert components.trusted(["one", "", "two, three"]) == ("one", "two", "three")
    monkeypatch.setenv("DLRUN_TRUST", "four,five six")
    assert components.trusted(["one"]) == ("one", "four", "five", "six")


def test_jobs_of_hydras_own_launcher_trust_what_the_command_does(
    dlrun: Callable, own: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlrun.sweep.by_hydra.chosen", lambda cfg: True)  # its basic launcher stands for the others
    module = own(MODEL, model__mynet="name: MODULE:Net\n")
    done = dlrun("--config-dir", "conf", "--trust", module, "-m", "model=mynet", "seed=0,1", "steps=1", SHORT[1])
    assert done.code == 0, done.err
    names = [yaml.safe_load((done.directory / job / ".hydra/config.yaml").read_text())["model"]["name"] for job in "01"]
    assert names == [f"{module}:Net"] * 2
    assert "DLRUN_TRUST" not in os.environ
