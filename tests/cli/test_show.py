"""Show: drawings hold the curves they are of, and the layer table the numbers that can be counted by hand."""

import itertools
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from flax import nnx

from dlrun.check import layers
from dlrun.check.calls import calls
from dlrun.cli import completion, prepare
from dlrun.config import catalogue, components, composition, schema
from dlrun.display.line_chart import BRAILLE, Chart, text
from dlrun.nn import activations
from dlrun.nn.activations import PReLU
from dlrun.optim.schedules import cosine, warmup_cosine
from dlrun.program.setup import Setup

CONF = [catalogue.conf()]
BLUE, YELLOW = "\x1b[1;36m", "\x1b[33m"


def dots(picture: str) -> tuple[np.ndarray, np.ndarray]:
    """The dots of a chart read back: whether there is one (lines, columns), and the value that each line stands for."""
    lines = [line for line in picture.splitlines() if re.match(r" *[-\d.e]* ?[│┤|+](?![-+])", line)]
    named = [(n, float(m[1])) for n, line in enumerate(lines) if (m := re.match(r" *([-\d.e]+) [┤+]", line))]
    margin = re.search("[┤+]", lines[named[0][0]]).end()  # pyright: ignore[reportOptionalMemberAccess]
    width = next(len(line) for line in picture.splitlines() if re.fullmatch(r" *[└+][─┬+-]+", line)) - margin
    cells = [line[margin:].ljust(width) for line in lines]
    unicode = any("⠀" < c <= "⣿" for line in cells for c in line)
    if unicode:
        bits = np.array([[ord(c) - 0x2800 if c != " " else 0 for c in line] for line in cells])
        found = (bits[:, None, :, None] & BRAILLE[None, :, None, :]).astype(bool).reshape(len(cells) * 4, width * 2)
    else:
        found = np.array([[c != " " for c in line] for line in cells])
    tall = 4 if unicode else 1
    (a, high), (b, low) = named[0], named[-1]
    line_of_high, per_line = a * tall + (2 if unicode else 0), (high - low) / ((b - a) * tall)
    return found, high - per_line * (np.arange(len(found)) - line_of_high)


def assert_drawn(picture: str, ends: tuple[float, float], f: Callable[[np.ndarray], np.ndarray]) -> None:
    """Every column of a chart from one end of the axis to the other has a dot at the curve's value."""
    found, values = dots(picture)
    x = np.linspace(*ends, found.shape[1])
    off = np.array([np.abs(values[column] - y).min() for column, y in zip(found.T, f(x), strict=True)])
    assert off.max() <= 0.51 * (values[0] - values[1])


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


# Charts


@pytest.mark.parametrize("unicode", [True, False], ids=["braille", "ascii"])
@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize(
    "f", [np.sin, lambda x: np.maximum(x, 0), lambda x: 1e-5 * x**2, lambda x: 3e6 * x - 1e6, np.ones_like]
)
def test_a_chart_holds_its_curve(f: Callable[[np.ndarray], np.ndarray], columns: int, unicode: bool):
    x = np.linspace(-3, 7, 2001)
    picture = text(Chart("title", "what x is", x, {"f": f(x)}), columns, unicode=unicode).plain
    assert_drawn(picture, (-3, 7), f)
    lines = picture.splitlines()
    assert (lines[0], lines[-1].strip()) == ("title", "what x is")
    assert max(map(len, lines)) <= columns
    assert unicode != picture.isascii()


def test_a_jump_is_joined_and_what_is_not_finite_left_out():
    x = np.linspace(0, 1, 101)
    y = np.where(x < 0.5, 0.0, 1.0)
    y[80:] = np.nan
    found, values = dots(text(Chart("", "", x, {"f": y}), 90).plain)
    drawn = found.any(0)
    assert drawn[: int(0.78 * len(drawn))].all()
    assert not drawn[int(0.8 * len(drawn)) :].any()
    rising = found.sum(0) > 1
    assert np.flatnonzero(rising) / len(drawn) == pytest.approx(0.5, abs=0.02)
    assert found[(values > 0.01) & (values < 0.99)][:, rising].any(1).all()


def test_values_of_the_axis_stand_where_they_are():
    picture = text(Chart("", "x", np.linspace(0, 10, 11), {"f": np.linspace(0, 50, 11)}), 80).plain
    below, axis = picture.splitlines()[-2], picture.splitlines()[-3]
    ticks = [n for n, c in enumerate(axis) if c == "┬"]
    names = {n: int(m) for m in re.findall(r"\d+", below) for n in [below.index(m) + len(m) // 2]}
    assert list(names.values()) == sorted(names.values())
    first, last = axis.index("└") + 1, len(axis) - 1
    for tick, value in zip(ticks, names.values(), strict=True):
        assert (tick - first) / (last - first) * 10 == pytest.approx(value, abs=0.1)


def test_a_short_axis_of_steps_has_whole_numbers():
    steps = np.arange(3, dtype=np.int32)
    below = text(Chart("", "step", steps, {"rate": np.ones(3)}), 80).plain.splitlines()[-2]
    assert below.split() == ["0", "1", "2"]


# Activations and schedules


def test_relu_is_zero_left_of_zero_and_its_derivative_one_right_of_it(dlrun):
    outcome = dlrun("show", "act=relu")
    assert outcome.code == 0
    head, picture = outcome.out.split("act=relu\n")[1:]
    assert "no keys" in head
    found, values = dots(picture)
    x = np.linspace(-5, 5, found.shape[1])
    line = values[0] - values[1]
    assert np.abs(values[found[:, x < -0.2].any(1)]).max() <= line
    for column in np.flatnonzero(x > 1.5):
        drawn = values[found[:, column]]
        assert drawn.max() == pytest.approx(x[column], abs=line)
        assert all(abs(y - 1) < line or abs(y - x[column]) < 2 * line for y in drawn)
    dashes = (found & (np.abs(values - 1) < line)[:, None]).any(0)[x > 1.5]
    assert 0.3 < dashes.mean() < 0.7
    assert "relu(x)" in picture
    assert "derivative of relu(x)" in picture


FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": activations.swish,
    "prelu": lambda x: jnp.where(x > 0, x, 0.25 * x),
    "glu": jax.nn.sigmoid,
    "geglu": activations.gelu,
    "swiglu": activations.swish,
}


@pytest.mark.parametrize("option", catalogue.options("act", CONF))
def test_every_activation_is_drawn(option: str, dlrun):
    outcome = dlrun("show", f"act={option}")
    assert outcome.code == 0
    f = FUNCTIONS.get(option) or getattr(activations, option)
    assert_drawn(outcome.out, (-5, 5), lambda x: np.asarray(f(jnp.asarray(x, jnp.float32))))


def test_the_keys_of_what_is_drawn_count(dlrun):
    outcome = dlrun("show", "act=leaky_relu", "act.negative_slope=0.5")
    assert_drawn(outcome.out, (-5, 5), lambda x: np.where(x > 0, x, 0.5 * x))
    assert "act.negative_slope=0.01\n" in outcome.out  # the table tells the default


@pytest.mark.parametrize("option", catalogue.options("schedule", CONF))
def test_every_schedule_is_drawn(option: str, dlrun):
    outcome = dlrun("show", f"schedule={option}", "steps=400", "optim.lr=2e-3")
    assert outcome.code == 0
    values = schema.filled(component := components.resolve("schedule", option, ()), {})
    rate = [float(component(step, 400.0, 2e-3, **values)) for step in range(400)]
    assert_drawn(outcome.out, (0, 399), lambda x: np.interp(x, np.arange(400), rate))
    assert "step, of 400" in outcome.out
    assert f"schedule={option}: learning rate, optim.lr=0.002" in outcome.out


def test_a_schedule_over_the_run_that_the_words_describe(dlrun):
    outcome = dlrun("show", "schedule=cosine", "optim=sgd", "epochs=10", "batch_size=50", "schedule.final=0.2")
    assert "optim.momentum=0.9" in outcome.out  # a choice that is named has its table
    total = 10 * (1294 // 50)  # rows of digits for training
    assert f"step, of {total}" in outcome.out
    assert_drawn(outcome.out, (0, total - 1), lambda x: np.asarray(cosine(x, total, 0.1, final=0.2)))


def test_a_long_schedule(dlrun):
    outcome = dlrun("show", "schedule=warmup_cosine", "steps=2000000", "schedule.warmup=0.5")
    rate = partial(warmup_cosine, total=2e6, peak=1e-3, warmup=0.5)
    assert_drawn(outcome.out, (0, 2e6), lambda x: np.asarray(rate(x)))


def test_several_are_drawn_one_after_the_other(dlrun):
    outcome = dlrun("show", "act=tanh", "seed", "act=elu", "schedule=constant", "steps=9")
    charts = [line for line in outcome.out.splitlines() if "└" in line]
    assert (outcome.code, len(charts)) == (0, 3)
    assert "\nseed=0\n" in outcome.out
    assert "steps=" not in outcome.out


def test_ascii_where_stdout_has_no_more(shell):
    outcome = shell("show", "act=gelu", PYTHONIOENCODING="ascii", COLUMNS="90")
    assert outcome.code == 0
    assert outcome.out.isascii()
    assert_drawn(outcome.out, (-5, 5), lambda x: np.asarray(activations.gelu(jnp.asarray(x, jnp.float32))))


def test_colours_on_a_terminal_alone(dlrun, monkeypatch: pytest.MonkeyPatch):
    assert "\x1b" not in dlrun("show", "act=tanh").out
    monkeypatch.setenv("FORCE_COLOR", "1")  # what makes rich take a stream for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    drawn = dlrun("show", "act=tanh").out
    assert BLUE in drawn
    assert YELLOW in drawn
    table = dlrun("show", "model=mlp", "data=digits").out
    for line in re.sub(r"\x1b\[[\d;]*m", "", drawn.split("act=tanh")[2] + table).splitlines():
        assert len(line.rstrip()) <= 60


@pytest.mark.parametrize("suffix", ["png", "svg", "PDF"])
def test_save(suffix: str, dlrun):
    file = Path(f"drawn.{suffix}")
    outcome = dlrun("show", "act=selu", "schedule=linear", "steps=50", "--save", str(file))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count("└") == 2
    assert [f.name for f in Path.cwd().iterdir()] == [file.name]
    if suffix == "png":
        image = matplotlib.image.imread(file)[..., :3]
        assert image.shape[0] > 300
        assert image.shape[1] > 1000  # two panels
        red = np.abs(image - np.array([0xD1, 0x49, 0x5B]) / 255).max(-1) < 0.05
        for panel in np.array_split(red, 2, axis=1):
            columns = panel.any(0)
            assert columns.mean() > 0.7, "a curve goes through the panel"
            assert panel.mean() < 0.05
    else:
        assert file.read_bytes().startswith({"svg": b"<?xml", "PDF": b"%PDF"}[suffix])
        assert file.stat().st_size > 4000


# Layers


def prepared(*overrides: str) -> Setup:
    return prepare.prepare(prepare.checked(*composition.compose(composition.loader([]), list(overrides))))


MLP = ("model=mlp", "data=digits", "model.widths=[16,12]", "norm=none", "batch_size=32")


def test_layers_of_an_mlp_counted_by_hand(dlrun):
    outcome = dlrun("show", *MLP)
    assert (outcome.code, outcome.err) == (0, "")
    table, totals = outcome.out.split("\n\n")
    assert [line.split() for line in table.splitlines()] == [
        ["layer", "kind", "output", "parameters", "operations"],
        ["hidden.0", "Dense", "16", "1,040", "2.08", "kFLOP"],
        ["linear", "Linear", "16", "1,040", "2.06", "kFLOP"],
        ["act", "relu", "16", "16", "FLOP"],
        ["hidden.1", "Dense", "12", "204", "408", "FLOP"],
        ["linear", "Linear", "12", "204", "396", "FLOP"],
        ["act", "relu", "12", "12", "FLOP"],
        ["output", "Linear", "10", "130", "250", "FLOP"],
    ]
    assert "parameters      1,374: 5.37 KiB in float32\n" in totals
    forward = 2 * (64 * 16 + 16 * 12 + 12 * 10) + (16 + 12 + 10) + (16 + 12)  # products, biases, relu
    assert f"forward pass    {forward / 1000:.3g} kFLOP per example\n" in totals
    assert totals.endswith("batch_size=32\n")
    assert not list(Path.cwd().iterdir())


def test_costs_of_an_mlp_counted_by_hand():
    setup = prepared(*MLP, "optim=sgd")
    forward, training = layers.costs(setup)
    assert forward == 2 * (64 * 16 + 16 * 12 + 12 * 10) + (16 + 12 + 10) + (16 + 12)
    # Backward: the products for the weights, and those for the inputs but the first layer's.
    products = 32 * 2 * ((64 * 16 + 16 * 12 + 12 * 10) + (16 * 12 + 12 * 10))
    assert products < training - 32 * forward < products + 32 * 300 + 1374 * 20  # and the loss, and the update
    assert layers.costs(prepared(*MLP, "optim=sgd", "accumulate=4"))[1] == pytest.approx(training, rel=0.1)


@pytest.mark.parametrize(("length", "unroll"), [(1, 1), (7, 1), (7, 3), (6, 3), (7, 7), (7, 9), (7, True), (0, 1)])
def test_every_turn_of_a_loop_is_counted(length: int, unroll: int):
    def turn(x, w):
        return jnp.dot(x, w), None

    def looped(x, w):
        once = jax.lax.scan(turn, x, jnp.broadcast_to(w, (length, *w.shape)), unroll=unroll)[0]
        return jax.lax.fori_loop(0, 3, lambda _, x: jax.lax.scan(turn, x, w[None])[0], once)

    x, w = jax.ShapeDtypeStruct((8, 32), jnp.float32), jax.ShapeDtypeStruct((32, 32), jnp.float32)
    assert layers.operations(looped, x, w) == pytest.approx((length + 3) * 2 * 8 * 32 * 32, rel=0.01)


def test_every_turn_of_a_loop_within_a_loop_is_counted():
    def nested(x, w):
        def inner(x, _):
            return jnp.dot(x, w), None

        return jax.lax.scan(lambda x, _: (jax.lax.scan(inner, x, None, 5)[0], None), x, None, 4)[0]

    x, w = jax.ShapeDtypeStruct((8, 32), jnp.float32), jax.ShapeDtypeStruct((32, 32), jnp.float32)
    assert layers.operations(jax.jit(nested), x, w) == pytest.approx(20 * 2 * 8 * 32 * 32, rel=0.01)
    back = layers.operations(jax.grad(lambda w, x: nested(x, w).sum()), w, x)
    assert back == pytest.approx(3 * 20 * 2 * 8 * 32 * 32, rel=0.05)


def test_every_step_of_a_recurrent_network_is_counted():
    forward, _ = layers.costs(prepared("model=lstm", "data=digits", "act=tanh", "model.width=64", "batch_size=16"))
    products = 8 * 2 * (8 * 4 * 64 + 64 * 4 * 64) + 2 * 64 * 10  # eight rows of pixels, then the output
    assert products < forward < products * 1.1


def assert_sums(inner: tuple[layers.Layer, ...], total: int) -> None:
    """The parameters of layers add up to those of what they are in, all the way down."""
    assert sum(layer.times * layer.parameters for layer in inner) == total
    for layer in inner:
        if layer.inner:
            assert_sums(layer.inner, layer.parameters)


# Two blocks and more of a kind are one row.
SIZES = {"cnn": [], "resnet": ["model.depth=14"], "transformer": ["model.depth=2"], "lstm": []}


@pytest.mark.parametrize("act", ["relu", "prelu"])
@pytest.mark.parametrize("model", SIZES)
def test_parameters_add_up(model: str, act: str):
    words = [f"model={model}", "data=digits", f"act={act}", "dropout=0.1", "precision=bfloat16", *SIZES[model]]
    setup = prepared(*words)
    found = layers.layers(setup)
    assert_sums(found, setup.parameter_count)
    flat = [layer for _, layer in layers.flattened(found)]
    assert {"PReLU" if act == "prelu" else "relu"} <= {layer.kind for layer in flat}
    assert all(layer.output for layer in flat), "every one is called"
    assert found[-1].output == "10"
    assert (found[-1].name, found[-1].kind) == ("output", "Linear")
    work = sum(layer.times * layer.operations for layer in found)
    assert work == pytest.approx(layers.costs(setup)[0], rel=0.01)


def test_equal_blocks_are_one_row():
    found = layers.layers(prepared("model=resnet", "data=digits", "model.depth=20", "norm=none"))
    assert [(layer.name, layer.times, layer.output) for layer in found] == [
        ("stem", 1, "8x8x16"),
        ("blocks.0-2", 3, "8x8x16"),
        ("blocks.3", 1, "4x4x32"),
        ("blocks.4-5", 2, "4x4x32"),
        ("blocks.6", 1, "2x2x64"),
        ("blocks.7-8", 2, "2x2x64"),
        ("output", 1, "10"),
    ]
    stem = found[0]
    assert [layer.name for layer in stem.inner] == ["conv", "act"], (
        "in the order of the calls, without what is no layer"
    )
    assert found[1].parameters == 2 * (16 * 16 * 9 + 16)


def test_parts_of_attention():
    found = layers.layers(prepared("model=transformer", "data=digits", "model.depth=1", "model.width=32"))
    attention = next(layer for _, layer in layers.flattened(found) if layer.kind == "Attention")
    assert [layer.name for layer in attention.inner] == ["query", "key", "value", "out"]
    assert attention.parameters == 4 * (32 * 32 + 32)


class Scaled(nnx.Module):
    """A parameter beside modules, one that is called over and over in a loop, and one that is never called."""

    def __init__(self, rngs: nnx.Rngs):
        self.unused = nnx.Linear(3, 2, rngs=rngs)
        self.turn = nnx.Linear(3, 3, rngs=rngs)
        self.scale = nnx.Param(jnp.ones((3,)))
        self.sub = nnx.Dict({"act": PReLU(3, rngs)})

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.sub["act"](jax.lax.fori_loop(0, 4, lambda _, x: self.turn(x), x)) * self.scale[...]


def test_a_model_of_ones_own():
    model = Scaled(nnx.Rngs(0))
    found = layers.of_calls(model, calls(model, jnp.ones((layers.BATCH, 3))))
    assert [(layer.name, layer.kind, layer.output, layer.parameters, layer.operations) for layer in found] == [
        ("scale", "Param", "3", 3, 0),
        ("turn", "Linear", "3", 12, 2 * 3 * 3 + 3),
        ("sub.act", "PReLU", "3", 3, 3 * 3),  # comparison, product, choice
        ("unused", "Linear", "", 8, 0),
    ]


# What is wrong

WRONG = {
    "schedule=cosin": "schedule=cosin: unknown option (did you mean 'cosine'?); known: ",
    "schedule=cosine optim.lrr=1": "optim.lrr: unknown key (did you mean 'lr'?); known: ",
    "schedule=cosine steps=0": "steps=0: not allowed; allowed: ",
    "schedule=cosine schedule.final=2": "schedule.final=2: not allowed; allowed: a number in [0, 1)",
    "schedule=cosine batch_size=5000": "batch_size=5000: not allowed; allowed: at most ",
    "schedule=cosine optim.lr=1e-3,1e-2": "optim.lr=1e-3,1e-2: several values need a sweep",
    "act=gelu act.aproximate=true": "act.aproximate: unknown key (did you mean 'approximate'?)",
    "act=gelu modle": "modle: unknown group or key (did you mean 'model'?)",
    "model=mlp data=digits optim=adan": "optim=adan: unknown option (did you mean 'adam'?)",
    "model=resnet data=digits model.depth=9": "model.depth=9: must be 6 n + 2",
    "model=mlp data=digits seed": "seed: can't be read as key=value",
    "act=gelu --save x.jpg": "--save x.jpg: unknown suffix; allowed: .png, .svg, .pdf",
    "act=gelu --save x": "--save x: unknown suffix; allowed: .png, .svg, .pdf",
    "act=gelu --save nope/x.png": "--save nope/x.png: can't be written: no such folder",
    "optim=adam --save x.png": "--save x.png: nothing to draw; allowed: act=... and schedule=...",
    "model=mlp data=digits --save x.png": "--save x.png: nothing to draw; allowed: act=... and schedule=...",
}


@pytest.mark.parametrize(("words", "said"), WRONG.items())
def test_what_is_wrong_is_one_line_and_nothing_is_made(words: str, said: str, dlrun):
    outcome = dlrun("show", *words.split())
    assert (outcome.code, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"error: {said}")
    assert not list(Path.cwd().iterdir())


def test_a_file_that_can_not_be_written(dlrun):
    Path("taken.png").mkdir()
    outcome = dlrun("show", "act=relu", "--save", "taken.png")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: --save taken.png: can't be written: ")
    assert [f.name for f in Path.cwd().iterdir()] == ["taken.png"]


def test_all_that_is_wrong_is_told_at_once(dlrun):
    outcome = dlrun("show", "act=gelu", "schedule=cosine", "modle", "schedule.fnal=1", "seed=-1")
    assert outcome.code == 2
    assert {line.split(":")[1].strip() for line in outcome.err.splitlines()} == {"modle", "schedule.fnal", "seed=-1"}


def test_save_belongs_to_show(dlrun):
    outcome = dlrun("model=mlp", "--save", "x.png")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "error: --save x.png: not allowed here; allowed: dlrun show ... --save FILE\n"


def test_other_options_stay_tables(dlrun):
    for group, option in itertools.product(("optim", "norm", "init"), ("sgd", "layer", "he_normal")):
        if option in catalogue.options(group, CONF):
            assert "└" not in dlrun("show", f"{group}={option}").out
    alone = dlrun("show", "model=mlp").out
    assert alone.startswith("model=mlp\n")
    assert "model.widths=" in alone


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLRUN_TRUST", "")
    Path("mine/act").mkdir(parents=True)
    Path("mine/act/bent.yaml").write_text("# Bent.\nname: bent_shown:bent\nby: 0.5  # how much\n")
    Path("bent_shown.py").write_text(
        "import jax.numpy as jnp\ndef bent(x, *, by: float = 1.0):\n    return x + by * jnp.abs(x)\n"
    )
    return Path("mine")


def test_ones_own_activation_is_drawn_where_it_is_trusted(own: Path, dlrun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    untrusted = dlrun("show", "act=bent", "--config-dir", "mine")
    assert untrusted.code == 0
    assert "--trust bent_shown" in untrusted.out
    assert "└" not in untrusted.out
    refused = dlrun("show", "act=bent", "--config-dir", "mine", "--save", "x.png")
    assert (refused.code, refused.out) == (2, "")
    assert "not trusted" in refused.err
    trusted = dlrun("show", "act=bent", "--config-dir", "mine", "--trust", "bent_shown")
    assert_drawn(trusted.out, (-5, 5), lambda x: x + 0.5 * np.abs(x))
    monkeypatch.setenv("DLRUN_TRUST", "bent_shown")
    by_environment = dlrun("show", "act=bent", "--config-dir", "mine")
    assert by_environment.out == trusted.out


def test_completion_of_the_run_that_is_drawn():
    assert "optim.lr=" in completion.candidates(["show", "schedule=cosine"], "optim.l")
    assert "schedule.final=" in completion.candidates(["show", "schedule=cosine"], "schedule.f")
    assert set(completion.candidates(["show", "model=mlp"], "data=d")) >= {"data=digits"}
    assert "schedule=cosine" in completion.candidates(["show"], "schedule=c")
