"""What is computed in half precision, what stays float32 and why, by the traced programs and by numbers."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend import core

from dlrun.config.choice import Choice
from dlrun.data.dataset import Dataset, Rows
from dlrun.nn import activations, inits, norms
from dlrun.nn.attention import attend
from dlrun.nn.dropout import Dropout
from dlrun.nn.hyperparameter import Hyperparameter
from dlrun.nn.linear import Conv, Embed, Linear
from dlrun.nn.parts import Inputs, Parts
from dlrun.nn.positions import Learned
from dlrun.nn.recurrent import Elman, GatedRecurrent, LongShortTerm
from dlrun.objective import losses, metrics
from dlrun.optim import optimizers
from dlrun.program import step
from dlrun.program.precision import PRODUCTS, equations, misses, products
from dlrun.program.program import Program
from dlrun.program.state import TrainState
from tests.tiny import IMAGES, MODELS, TASK, arrays, batch, compiled, numbers, program, quick, start, with_arrays

HALVES = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
PRECISIONS = (jnp.dtype(jnp.float32), *HALVES)
TOKENS = Inputs("tokens", (6,), vocabulary=11)
TEXT = replace(TOKENS, causal=True)
NOTHING = Rows(np.zeros((1, 6), np.int32), np.zeros((1, 6), np.int32))
NEXT_TOKEN = metrics.task(Dataset("tokens", (), NOTHING, task="language_modelling", vocabulary=11))
SEQUENCES = ("transformer", "rnn", "lstm", "gru")

# Float32 by intent, in a run of half precision:
# - softmax, the statistics of norms, and losses: no matrix products, so that products need no exception for them;
# - Q Kᵀ of attention, whose factors are half: its sums go to the softmax as they are;
# - gates and states of recurrent cells;
# - sums of gradients: of what examples, positions or steps share, of the parts of a batch, their norm;
# - parameters, optimizers, moving averages, batch statistics: all that is kept from step to step.
SUMS = {"reduce_sum", "cumsum", "scatter-add", "scatter_add", "reduce_prod"}  # as JAX's primitives are called
OWN_PRODUCTS = {"muon"}  # optimizers that multiply matrices, in float32: Newton and Schulz's iteration


FAMILIES = [
    *((model, IMAGES[model]) for model in MODELS),
    *((model, inputs) for model in SEQUENCES for inputs in (TOKENS, TEXT)),
    *((model, Inputs("rows", (5,))) for model in ("logistic", "mlp")),
]
"""Every family on every kind of inputs."""

VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, float]]] = {
    "rotary": ("transformer", {"inputs": TEXT, "model_values": {"positions": "rotary"}}, {}),
    "sinusoidal": ("transformer", {"inputs": TEXT, "model_values": {"positions": "sinusoidal"}}, {}),
    "untied": ("transformer", {"inputs": TEXT, "model_values": {"positions": "none", "tie": False}}, {}),
    "cls": ("transformer", {"model_values": {"pool": "cls"}}, {"model__drop_path": 0.1}),
    "accumulate": ("transformer", {"inputs": TEXT, "accumulate": 2, "loop": True}, {}),
    "projections": ("resnet", {"model_values": {"depth": 18}}, {"model__drop_path": 0.1}),
    "spatial": ("cnn", {"model_values": {"spatial_dropout": True}}, {"ema": 0.9, "clip_norm": 1.0}),
    **{a: ("transformer", {"act": getattr(activations, a), "model_values": {"depth": 1}}, {})
       for a in ("geglu", "glu", "swiglu")},
    **{n: ("cnn", {"norm": getattr(norms, n), "model_values": {"width": 12}}, {})
       for n in ("batch", "group", "rms", "none")},
    "instance": ("resnet", {"norm": norms.instance}, {}),
    **{a: ("mlp", {"act": getattr(activations, a)}, {})
       for a in ("gelu", "mish", "selu", "elu", "softplus", "relu_squared", "hard_swish", "leaky_relu")},
    **{o: ("mlp", {"optim": getattr(optimizers, o)}, {}) for o in ("sam", "muon", "adafactor", "lamb", "lars")},
    **{o: ("mlp", {"loss": getattr(losses, o)}, {}) for o in ("binary_cross_entropy", "mse")},
}  # fmt: skip
"""What changes the program within a family."""


def traced(model: str, parts: dict[str, Any], given: dict[str, float], dtype: Any):
    """A program, its state's form, and its training and evaluation steps; PReLU, a norm and dropout inside."""
    inputs = parts.get("inputs", IMAGES[model])
    values = {"patch": None} if model == "transformer" and inputs.kind == "tokens" else {}
    values |= parts.get("model_values", {})
    outputs = inputs.vocabulary if inputs.causal else 3
    task = NEXT_TOKEN if inputs.causal else TASK
    base = {"act": activations.PReLU, "norm": norms.layer, "outputs": outputs, "task": task}
    of = program(model, **{**base, **parts, "inputs": inputs, "model_values": values}, dtype=dtype)
    graphdef, state = jax.eval_shape(partial(step.init, of), np.uint32(0), numbers(dropout=0.1, **given))
    data = {
        "x": jax.ShapeDtypeStruct((4, *inputs.shape), jnp.int32 if inputs.kind == "tokens" else jnp.float32),
        "y": jax.ShapeDtypeStruct((4, *inputs.shape) if inputs.causal else (4,), jnp.int32),
    }
    train, after = jax.make_jaxpr(partial(step.train_step, of, graphdef), return_shape=True)(state, data)
    evaluate = jax.make_jaxpr(partial(step.eval_step, of, graphdef))(
        state, data, jax.ShapeDtypeStruct((4,), jnp.float32)
    )
    return of, state, after, train.jaxpr, evaluate.jaxpr


def of_optimizer(of: Program, state: TrainState) -> int:
    """How many matrix products the optimizer takes for itself."""
    optimizer = of.optimizer(numbers(), jnp.float32(0.1))
    return len(products(jax.make_jaxpr(optimizer.update)(state.params, state.opt_state, state.params).jaxpr))


def held(model: str, parts: dict[str, Any], given: dict[str, float], dtype: Any) -> tuple[int, int]:
    """Asserts in what precision a program computes; gives its numbers of products in training and in evaluation."""
    of, state, (after, results), train, evaluate = traced(model, parts, given, dtype)
    others = [both for both in factors(train) if both != (dtype, dtype)]
    own = of_optimizer(of, state) if of.optim.name in OWN_PRODUCTS else 0
    assert others == [(jnp.float32, jnp.float32)] * (own if dtype in HALVES else 0)
    assert (of.optim.name in OWN_PRODUCTS) == bool(own)
    seen = factors(evaluate)
    assert seen == [(dtype, dtype)] * len(seen) != []
    assert misses(evaluate, dtype) == []

    # What products give is of that precision too, but for the logits of attention.
    results_of: list[Any] = [e.outvars[0].aval for e in equations(evaluate) if e.primitive.name in PRODUCTS]
    gives = Counter(result.dtype for result in results_of)
    logits = dict(of.model.values)["depth"] if model == "transformer" and dtype in HALVES else 0
    assert gives == Counter({dtype: len(seen) - logits}) + Counter({jnp.dtype(jnp.float32): logits})

    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), state)
    kept = {leaf.dtype for leaf in jax.tree.leaves((after, results)) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert kept == {jnp.dtype(jnp.float32)}
    if dtype in HALVES:
        assert not [e for e in equations(train) if e.primitive.name in SUMS and half(e.outvars[0])]
        assert not [e for e in equations(train) if e.primitive.name == "scan" and any(map(half, carried(e)))]
    else:
        assert not any(half(v) for e in equations(train) for v in e.outvars)
    return len(factors(train)) - own, len(seen)


def name_of(value: Any) -> str:
    return value if isinstance(value, str) else "text" if value.causal else value.kind


@pytest.mark.parametrize(("model", "inputs"), FAMILIES, ids=name_of)
def test_every_family_in_every_precision(model: str, inputs: Inputs) -> None:
    found = [held(model, {"inputs": inputs}, {}, dtype) for dtype in PRECISIONS]
    assert len({evaluation for _, evaluation in found}) == 1, "in each the same products"
    # One more where a first layer's own gradient at what it is given is asked for; XLA leaves it out.
    assert all(2 <= found[0][0] <= training <= found[0][0] + 1 for training, _ in found)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_changes_a_program_changes_nothing_about_its_precision(variant: str) -> None:
    held(*VARIANTS[variant], jnp.dtype(jnp.bfloat16))


def factors(jaxpr: core.Jaxpr) -> list[tuple[Any, ...]]:
    return [tuple(f.dtype for f in both) for both in products(jaxpr)]


def half(variable: Any) -> bool:
    return variable.aval.dtype in HALVES


def carried(scan: core.JaxprEqn) -> list[Any]:
    """What a loop hands from turn to turn."""
    of_a_turn: list[Any] = scan.params["jaxpr"].out_avals
    outputs: list[Any] = scan.outvars
    return [v for v, turn in zip(outputs, of_a_turn, strict=True) if v.aval.shape == turn.shape]


def test_a_teacher_computes_in_the_precision_of_its_own_run() -> None:
    taught = program("mlp")
    graphdef, state = jax.eval_shape(partial(step.init, taught), np.uint32(0), numbers())

    def teacher(arrays, x):
        return step.forward(taught, graphdef, arrays["params"], arrays["variables"], x, train=False)[0]

    of = program("cnn", dtype=jnp.bfloat16, loss=losses.distillation, teacher=teacher)
    student, start = jax.eval_shape(partial(step.init, of), np.uint32(0), numbers())
    data = {**batch(), "teacher": {"params": state.params, "variables": state.variables}}
    found = Counter(factors(jax.make_jaxpr(partial(step.train_step, of, student))(start, data).jaxpr))
    float32, bfloat16 = PRECISIONS[:2]
    assert found == {(float32, float32): 3, (bfloat16, bfloat16): 4 + 4 + 3}  # its input takes no gradient


# By numbers


def gradient(module: nnx.Module, x: jax.Array, dtype: Any) -> dict[str, np.ndarray]:
    """Of all parameters, where every output pulls upwards; computed from halves in ``dtype``."""
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)
    params, x = step.cast_floats(step.cast_floats((params, x), jnp.bfloat16), dtype)
    up = np.random.default_rng(1)

    def total(params):
        outputs = nnx.merge(graphdef, params, rest)(x)
        return (outputs.astype(jnp.float32) * up.uniform(0.5, 1.5, outputs.shape)).sum()

    return arrays(step.cast_floats(quick(jax.grad(total))(params), jnp.float32))


def parts(act: Any) -> Parts:
    return Parts(Choice(act), Choice(norms.none), inits.xavier_uniform("tanh"), inits.lecun_normal("identity"))


SHARED: dict[str, tuple[Callable[[nnx.Rngs], nnx.Module], tuple[int, ...]]] = {
    "linear": (lambda rngs: Linear(4, 3, rngs=rngs), (64, 512, 4)),
    "conv": (lambda rngs: Conv(2, 3, (3, 3), strides=1, padding=1, rngs=rngs), (64, 32, 16, 2)),
    "embed": (lambda rngs: Embed(3, 4, rngs=rngs), (64, 512)),
    "positions": (lambda rngs: Learned(8, 4, rngs), (4096, 8, 4)),
    "prelu": (lambda rngs: activations.PReLU(4, rngs), (64, 512, 4)),
    "rnn": (lambda rngs: Elman(3, 4, parts(activations.PReLU), rngs), (4, 512, 3)),
    "lstm": (lambda rngs: LongShortTerm(3, 4, parts(activations.tanh), rngs), (4, 512, 3)),
    "gru": (lambda rngs: GatedRecurrent(3, 4, parts(activations.tanh), rngs), (4, 512, 3)),
}


@pytest.mark.parametrize("name", SHARED)
def test_the_gradient_of_what_is_shared_is_added_up_in_float32(name: str) -> None:
    # Of 2,000 to 30,000 terms: added up in bfloat16, from a hundredth to nearly all of them would be lost.
    make, shape = SHARED[name]
    random = np.random.default_rng(0)
    x = random.integers(0, 3, shape) if name == "embed" else random.normal(size=shape).astype(np.float32) / 4
    whole = gradient(make(nnx.Rngs(0)), jnp.asarray(x), jnp.float32)
    for dtype in HALVES:
        found = gradient(make(nnx.Rngs(0)), jnp.asarray(x), dtype)
        for path, right in whole.items():
            assert np.linalg.norm(found[path] - right) < 0.01 * np.linalg.norm(right), (dtype, path)


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_recurrent_states_keep_what_each_step_adds(dtype: Any) -> None:
    T, identity = 2000, parts(activations.identity)
    x = jnp.zeros((1, T, 1), dtype)

    def last(layer, gates):  # with gates by the biases alone
        layer.input.bias[...] = jnp.asarray(gates, jnp.float32)
        graphdef, params = nnx.split(layer)
        return float(quick(lambda p, x: nnx.merge(graphdef, p)(x))(step.cast_floats(params, dtype), x)[0, -1, 0])

    # c_t = c_{t-1} + 0.001: 2 at the end. bfloat16 would stop at 0.25.
    lstm = LongShortTerm(1, 1, identity, nnx.Rngs(0))
    lstm.recurrent[...] = jnp.zeros((1, 4))
    assert last(lstm, [20, 20, 0.001, 20]) == pytest.approx(2, rel=0.01)
    # h_t = z h_{t-1} + (1 - z), z = σ(7): in bfloat16 z would be 1, and h would stay 0.
    gru = GatedRecurrent(1, 1, identity, nnx.Rngs(0))
    gru.recurrent[...] = jnp.zeros((1, 3))
    assert last(gru, [0, 7, 1]) == pytest.approx(1 - (1 / (1 + np.exp(-7))) ** T, rel=0.01)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_attention_and_its_gradient_in_half_precision(dtype: Any, causal: bool) -> None:
    random = np.random.default_rng(0)
    q, k, v, up = (jnp.asarray(random.normal(size=(2, 9, 2, 8)), dtype) for _ in range(4))
    mask = jnp.tri(9, dtype=bool) if causal else None

    def both(*qkv):
        out, back = jax.vjp(partial(attend, mask_TS=mask), *qkv)
        return out, *back(up.astype(out.dtype))

    half, exact = quick(both)(q, k, v), quick(both)(*(a.astype(jnp.float32) for a in (q, k, v)))
    for found, right in zip(half, exact, strict=True):
        assert found.dtype == dtype
        assert np.linalg.norm(found.astype(jnp.float32) - right) < 3 * jnp.finfo(dtype).eps * np.linalg.norm(right)


def test_batch_statistics_take_small_steps() -> None:
    of = program("mlp", norm=Choice(norms.batch, (("momentum", 0.999),)), dtype=jnp.bfloat16)
    graphdef, state = start(of, numbers())
    run = compiled(of, graphdef)

    def mean_after(value):
        path = "hidden/0/norm/mean"
        variables = with_arrays(state.variables, {path: np.full_like(arrays(state.variables)[path], value)})
        return arrays(run(replace(state, variables=variables), batch())[0].variables)[path]

    np.testing.assert_allclose(mean_after(1.0) - mean_after(0.0), 0.999, rtol=1e-6)  # bfloat16 would round it to 1


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_dropout_keeps_the_mean(dtype: Any) -> None:
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, 200_000), dtype)
    kept = np.asarray(Dropout(Hyperparameter(jnp.float32(0.1)), nnx.Rngs(0))(x), np.float64)
    ratio = kept[kept > 0] / np.asarray(x, np.float64)[kept > 0]
    assert ratio.mean() == pytest.approx(1 / 0.9, rel=3e-4)  # by a rate in bfloat16, 17e-4 too large


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mse", "huber", "distillation"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_losses_are_float32(loss: str, dtype: Any) -> None:
    outputs = jnp.asarray([[3.0, -7.0, 12.0]], dtype)
    targets = jnp.ones((1, 3)) if loss == "huber" else jnp.array([1])
    given = (targets, outputs + 1) if loss == "distillation" else targets
    found = getattr(losses, loss)(outputs, given, 0.1)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, getattr(losses, loss)(outputs.astype(jnp.float32), given, 0.1))


@pytest.mark.slow
@pytest.mark.parametrize(("model", "inputs"), FAMILIES, ids=name_of)
def test_half_precision_learns_as_float32_does(model: str, inputs: Inputs) -> None:
    random = np.random.default_rng(0)
    tokens, outputs = inputs.kind == "tokens", 11 if inputs.causal else 3
    x = random.integers(0, 11, (32, 6)) if tokens else random.normal(size=(32, *inputs.shape)).astype(np.float32)
    data = {"x": jnp.asarray(x), "y": jnp.asarray(random.integers(0, outputs, (32, 6) if inputs.causal else 32))}
    values = {"patch": None} if model == "transformer" and tokens else {}
    task = NEXT_TOKEN if inputs.causal else TASK

    @cache
    def made(dtype: Any) -> tuple[Callable[..., Any], TrainState]:
        of = program(model, inputs=inputs, model_values=values, outputs=outputs, task=task, norm=norms.layer,
                     optim=optimizers.adam, dtype=dtype)  # fmt: skip
        graphdef, state = start(of, numbers(optim__lr=0.01))
        return compiled(of, graphdef), state

    def curve(dtype: Any, rounded: Any) -> np.ndarray:
        (run, state), found = made(dtype), []
        state = replace(state, params=step.cast_floats(step.cast_floats(state.params, rounded), jnp.float32))
        for _ in range(60):  # of which float16 may lose some at first, to find its loss scale
            state, results = run(state, data)
            found += [float(results["sum"]["loss"])] * bool(results["sum"]["count"])
        return np.array(found[:40])

    whole = curve(jnp.float32, jnp.float32)
    assert whole[-1] < 0.9 * whole[0]
    for dtype in HALVES:
        # Training lets small differences grow, in a deep and narrow network most: as far as those of rounded weights.
        grown = np.abs(curve(jnp.float32, dtype) - whole).mean()
        assert np.abs(curve(dtype, jnp.float32) - whole).mean() < 0.02 * whole[0] + 3 * grown
