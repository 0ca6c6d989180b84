"""What holds for every option in conf/: it trains, its state can be saved, its numbers are no constants."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlrun.config import catalogue, components, composition, plan
from dlrun.errors import InvalidConfig
from dlrun.program import pytree, setup, step
from dlrun.program.state import TrainState, kept
from dlrun.runs import checkpoint
from tests.tiny import quick

CONF = catalogue.conf()
OPTIONS = [(group, name) for group in components.HOMES for name in catalogue.options(group, [CONF])]
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
    np.savez(folder / "labels.npz", x=random.normal(size=(60, 4)), y=random.integers(0, 2, (60, 3)) > 0)
    hydra = composition.loader([])

    def made(words: list[str]) -> setup.Setup:
        ours = {f"data={name}": f"data=arrays data.path={folder}/{name}.npz" for name in ("images32", "labels")}
        words = [ours.get(w, w) for w in words]
        cfg, found = composition.compose(hydra, " ".join(["batch_size=4", *words]).split())
        values, unresolved = composition.plain(cfg)
        return setup.prepare(plan.plan(values, (), found + unresolved))

    return made


SLOW = ("model=vgg", "model=alexnet")
# A run has one option of each of these groups, so that a few runs have all of them.
TOGETHER = ("act", "norm", "init", "optim", "schedule", "augment", "loss", "launcher")


def runs() -> Iterator[list[str]]:
    """Words of runs that have every option among them: side by side what goes with digits and an mlp, others alone."""
    apart = ELSEWHERE | BESIDE.keys()
    groups = [[f"{g}={name}" for g, name in OPTIONS if g == group and (g, name) not in apart] for group in TOGETHER]
    for i in range(max(map(len, groups))):
        yield [words[i % len(words)] for words in groups] + SMALL["mlp"]
    for group, name in OPTIONS:
        if (group, name) not in ELSEWHERE and ((group, name) in BESIDE or group not in TOGETHER):
            words = [f"{group}={name}", *BESIDE.get((group, name), [])]
            model = next((w.removeprefix("model=") for w in words if w.startswith("model=")), "mlp")
            yield words + SMALL.get(model, [])


RUNS = {" ".join(w for w in words if "." not in w): words for words in runs()}


@pytest.mark.parametrize(
    "words", [pytest.param(w, id=k, marks=[pytest.mark.slow] if k.startswith(SLOW) else []) for k, w in RUNS.items()]
)
def test_options_train_save_and_have_no_constants(prepared: Any, words: list[str]) -> None:
    made = prepared(words)
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
    saved = pytree.copied({"state": kept(after)})
    again = pytree.fit(saved, {"state": kept(after)})["state"]
    for one, other in zip(jax.tree.leaves(kept(after)), jax.tree.leaves(again), strict=True):
        assert one.dtype == other.dtype
        assert (one == other).all()

    # Any number may be another one: nothing is compiled again.
    other = {k: jnp.float32(v * 0.9) for k, v in made.numbers.items()}
    fields = {k: getattr(after, k) for k in after.__dataclass_fields__} | {"numbers": other}
    train(TrainState(**fields), table)
    assert len(traces) == 1


DEEP = ["model.widths=[4,4,4,4,4]"]
VANISH = " saturates, and gradients may vanish through 6 layers; relu and leaky_relu are for plain networks, gelu for"
WARNINGS = {
    "act=sigmoid norm=layer": (DEEP, [f"act=sigmoid{VANISH} Transformers"]),
    "act=tanh norm=layer": (DEEP, [f"act=tanh{VANISH} Transformers"]),
    "act=relu norm=layer": (DEEP, []),
    "act=tanh": (SMALL["mlp"], []),
    "act=tanh model=lstm": ([*SMALL["lstm"], "model.depth=6", "dropout=0.1"], []),
    "model=logistic": (["dropout=0.1"], ["dropout=0.1 does nothing: this model has no place for it"]),
    "data=diabetes label_smoothing=0.2": (SMALL["mlp"], ["label_smoothing=0.2 does nothing: there are no classes"]),
}


@pytest.mark.parametrize("words", WARNINGS)
def test_warnings(prepared: Any, words: str) -> None:
    more, expected = WARNINGS[words]
    found = prepared([*words.split(), *more, "batch_size=8"]).warnings
    assert found == expected


def test_uneven_classes_are_told_with_the_metric_to_choose(prepared: Any, tmp_path: Path) -> None:
    y = np.where(np.arange(400) % 25, "no", "yes")
    np.savez(tmp_path / "rare.npz", x=np.random.default_rng(0).normal(size=(400, 3)), y=y)
    words = ["data=arrays", f"data.path={tmp_path}/rare.npz", *SMALL["mlp"], "batch_size=16"]
    told = prepared(words).warnings
    assert told == [
        "class yes has 12 of 288 training rows: always answering no gives an accuracy of 0.96; "
        "checkpoint.metric=val/macro_f1 weighs all classes equally"
    ]
    assert prepared([*words, "checkpoint.metric=val/macro_f1"]).warnings == []


def test_every_option_is_in_a_run_but_those_left_out() -> None:
    seen = {word for words in RUNS.values() for word in words}
    assert {(group, name) for group, name in OPTIONS if f"{group}={name}" not in seen} == ELSEWHERE
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
    "labels": ["data=labels"],
    "tokens": ["data=synthetic", "data.kind=copy"],
    "text": ["data=text", f"data.path={Path(checkpoint.__file__).parents[1]}", "data.length=16"],
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "images32"])
@pytest.mark.parametrize("model", sorted({*catalogue.options("model", [CONF])} - {"vgg"}))
def test_a_model_learns_from_each_kind_of_data_it_takes(prepared: Any, model: str, kind: str) -> None:
    """On one batch, again and again: its loss falls. A VGG's step takes 10 s; it takes images alone."""
    data = KINDS.get(kind, ["data=images32"])
    constant = ["schedule=constant", "optim=adam", "optim.lr=3e-3", "batch_size=8"]
    problems, made = refused(prepared, [f"model={model}", *SMALL.get(model, []), *data, *constant])
    if made is None:
        assert len(problems) == 1, problems
        return
    train = quick(partial(step.train_step, made.program, made.graphdef))
    state = quick(lambda s, n: step.init(made.program, s, n)[1])(np.uint32(0), made.numbers)
    table = {"x": jnp.asarray(made.data.train.x[:8]), "y": jnp.asarray(made.data.train.y[:8])}
    if made.data.moments is not None:
        table["mean"], table["std"] = map(jnp.asarray, made.data.moments)
    batch, losses = step.take(table, jnp.arange(8)), []
    for _ in range(12):
        state, metrics = train(state, batch)
        losses.append(float(metrics["sum"]["loss"] / metrics["sum"]["count"]))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
