"""What holds for every option in conf/: it trains, its state can be saved, its numbers are no constants."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlrun import catalogue, checkpoint, config, plan, setup, step
from dlrun.schema import InvalidConfig
from dlrun.snapshot import kept
from tests.tiny import quick

CONF = catalogue.conf()
OPTIONS = [(group, name) for group in plan.HOMES for name in catalogue.options(group, [CONF])]
SMALL = {
    "mlp": ["model.widths=[6]"],
    "cnn": ["model.channels=[3]", "model.width=5"],
    "resnet": ["model.depth=8", "model.width=2"],
    "transformer": ["model.width=8", "model.depth=1", "model.heads=2"],
    **{name: ["model.width=6"] for name in ("rnn", "lstm", "gru")},
}
# What an option needs beside it, where the default model and data are not for it.
BESIDE = {
    ("act", "glu"): ["model=transformer"],
    ("act", "geglu"): ["model=transformer"],
    ("act", "swiglu"): ["model=transformer"],
    ("norm", "instance"): ["model=resnet"],
    ("loss", "mse"): ["data=diabetes"],
    ("loss", "huber"): ["data=diabetes"],
    ("model", "alexnet"): ["data=images32"],
    ("model", "vgg"): ["data=images32"],
    ("model", "lenet"): ["data=images32"],
}
# Their files may not be at hand, or they need a teacher: other tests are about them.
ELSEWHERE = {
    *(
        ("data", name)
        for name in ("mnist", "fashion_mnist", "cifar10", "cifar100", "arrays", "table", "images", "text")
    ),
    ("loss", "distillation"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("arrays")
    random = np.random.default_rng(0)
    x, y = random.integers(0, 255, (60, 32, 32, 1)).astype(np.uint8), np.arange(60) % 3
    np.savez(folder / "images32.npz", x=x, y=y)
    hydra = config.loader([])

    def made(words: list[str]) -> setup.Setup:
        words = [w if w != "data=images32" else f"data=arrays data.path={folder}/images32.npz" for w in words]
        cfg, found = config.compose(hydra, " ".join([*words, "batch_size=4"]).split())
        values, unresolved = config.plain(cfg)
        return setup.prepare(plan.plan(values, (), found + unresolved))

    return made


def words_for(group: str, name: str) -> list[str]:
    words = [f"{group}={name}", *BESIDE.get((group, name), [])]
    model = name if group == "model" else next((w.split("=")[1] for w in words if w.startswith("model=")), "mlp")
    return words + SMALL.get(model, [])


SLOW = (("model", "vgg"), ("model", "alexnet"))


@pytest.mark.parametrize(
    ("group", "name"),
    [
        pytest.param(*o, id="=".join(o), marks=[pytest.mark.slow] if o in SLOW else [])
        for o in OPTIONS
        if o not in ELSEWHERE
    ],
)
def test_option_trains_saves_and_has_no_constants(prepared: Any, group: str, name: str) -> None:
    made = prepared(words_for(group, name))
    graphdef, state = made.graphdef, quick(lambda s, n: step.init(made.program, s, n)[1])(np.uint32(0), made.numbers)
    traces = []

    @quick
    def train(state, table):
        traces.append(1)
        batch = step.take(table, jnp.arange(4))
        return step.train_step(made.program, graphdef, state, batch)

    rows = made.data.train
    table = {"x": jnp.asarray(rows.x[:4]), "y": jnp.asarray(rows.y[:4])}
    if made.data.moments is not None:
        table["mean"], table["std"] = map(jnp.asarray, made.data.moments)
    after, metrics = train(state, table)
    assert np.isfinite(metrics["sum"]["loss"])
    assert metrics["sum"]["count"] == 1
    assert np.isfinite(metrics["last"]["lr"])

    # Saved and read back, it is the same, and the next step too.
    saved = checkpoint.copied({"state": kept(after)})
    again = checkpoint.fit(saved, {"state": kept(after)})["state"]
    for one, other in zip(jax.tree.leaves(kept(after)), jax.tree.leaves(again), strict=True):
        assert one.dtype == other.dtype
        assert (one == other).all()

    # Any number may be another one: nothing is compiled again.
    other = {k: jnp.float32(v * 0.9) for k, v in made.numbers.items()}
    fields = {k: getattr(after, k) for k in after.__dataclass_fields__} | {"numbers": other}
    train(step.TrainState(**fields), table)
    assert len(traces) == 1


def test_those_left_out_are_options() -> None:
    assert set(OPTIONS) >= ELSEWHERE
    assert set(OPTIONS) >= set(BESIDE)


def refused(prepared: Any, words: list[str]) -> tuple[list[str], Any]:
    """What does not fit, or else what was prepared."""
    try:
        return [], prepared(words)
    except InvalidConfig as error:
        return error.problems, None


KINDS = {
    "images": [],
    "rows": ["data=iris"],
    "numbers": ["data=diabetes"],
    "tokens": ["data=synthetic", "data.kind=copy"],
    "text": ["data=text", f"data.path={Path(checkpoint.__file__).parent}", "data.length=16"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", catalogue.options("model", [CONF]))
def test_a_model_takes_data_or_says_in_one_line_why_not(prepared: Any, model: str, kind: str) -> None:
    words = [f"model={model}", *SMALL.get(model, []), *KINDS[kind]]
    problems, made = refused(prepared, words)
    if made is None:
        assert len(problems) == 1, problems
        assert problems[0].startswith(f"model.name={model}: must be a model for ")
        assert kind != "images" or model in ("alexnet", "vgg", "lenet"), "which take no images of 8x8"
        return
    batch = {"x": made.examples(4), "y": made.targets(4)}
    after, _ = jax.eval_shape(partial(step.train_step, made.program, made.graphdef), made.shapes, batch)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), made.shapes)
