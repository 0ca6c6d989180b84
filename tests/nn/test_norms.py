"""Normalisations against NumPy and PyTorch, running statistics against the closed form, gradients in float64."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dlrun.config import catalogue, components
from dlrun.errors import Unfit
from dlrun.nn import norms
from dlrun.nn.norms import MIXES_POSITIONS
from tests.tiny import assert_gradient, quick

NAMES = sorted({catalogue.component(f) for f in catalogue.options("norm", [catalogue.conf()]).values()})
C = 6
SHAPES = [(4, C), (3, 4, 4, C), (2, 7, C)]
EPSILON = 0.1  # large enough to be seen


def standard(x: np.ndarray, axes: Any) -> np.ndarray:
    """Of mean 0 and, but for epsilon, variance 1 over the axes; the variance is the biased one."""
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + EPSILON)


def middle(x: np.ndarray) -> tuple[int, ...]:
    return tuple(range(1, x.ndim - 1))


def grouped(x: np.ndarray, groups: int) -> np.ndarray:
    parts = x.reshape(*x.shape[:-1], groups, -1)
    return standard(parts, (*middle(x), parts.ndim - 1)).reshape(x.shape)


# What each does before scale and bias; values beside epsilon; whether it learns a bias.
TABLE: dict[str, tuple[Callable[[np.ndarray], np.ndarray], dict[str, int], bool]] = {
    "batch": (lambda x: standard(x, tuple(range(x.ndim - 1))), {}, True),
    "layer": (lambda x: standard(x, -1), {}, True),
    "rms": (lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON), {}, False),
    "group": (lambda x: grouped(x, 3), {"groups": 3}, True),
    "instance": (lambda x: standard(x, middle(x)), {}, True),
    "none": (lambda x: x, {}, False),
}
LEARNED = [name for name in TABLE if name != "none"]
CASES = [(name, shape) for name in TABLE for shape in SHAPES if name != "instance" or len(shape) > 2]

# By PyTorch 2.13, the last row of outputs for sin(k^1.5), k = 0 ... 35, as (2, 3, 6), with epsilon 0.1, scales from
# 0.5 to 1.5, biases from -1 to 1, and three groups.
GOLDENS = {
    "batch": [-0.58361464, -0.623660917, -1.49351754, 0.576266649, -0.648662432, 1.2978222],
    "layer": [-0.472938985, -0.475404093, -1.43597713, 1.45728293, -0.0939950969, 0.29807446],
    "rms": [0.565462935, 0.180334095, -1.15981646, 1.34145229, -0.587500502, -0.579365534],
    "group": [-0.61299438, -0.604342544, -1.99041567, 0.679144874, 0.512428307, 1.04293582],
    "instance": [-0.671305379, -0.573255858, -1.36471495, 0.158807766, 0.0764188802, 1.73628824],
}


def made(name: str, seed: int = 0, *, features: int = C, epsilon: float = EPSILON, **values: float) -> Any:
    """A norm with random scale and bias, and the values of its row."""
    values = TABLE[name][1] | ({} if name == "none" else {"epsilon": epsilon}) | values
    module = components.resolve("norm", name, ())(features, nnx.Rngs(0), **values)
    random = np.random.default_rng(seed)
    if name != "none":
        module.scale[...] = jnp.asarray(random.normal(1, 0.3, features), jnp.float32)
    if TABLE[name][2]:
        module.bias[...] = jnp.asarray(random.normal(0, 0.3, features), jnp.float32)
    return module


@partial(quick, static_argnums=0)
def compiled(graphdef: nnx.GraphDef, state: nnx.State, x: jax.Array) -> tuple[jax.Array, nnx.State]:
    module = nnx.merge(graphdef, state)
    return module(x), nnx.state(module)


def applied(module: Any, x: Any) -> jax.Array:
    """``module(x)`` as one program; it moves running statistics."""
    y, state = compiled(*nnx.split(module), jnp.asarray(x))
    nnx.update(module, state)
    return y


def data(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(2.0, 3.0, shape).astype(np.float32)


def affine(name: str, module: Any, normal: np.ndarray) -> np.ndarray:
    scale = 1.0 if name == "none" else np.asarray(module.scale[...])
    return normal * scale + (np.asarray(module.bias[...]) if TABLE[name][2] else 0)


def test_every_option_has_a_row() -> None:
    assert set(NAMES) == TABLE.keys()


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_formula(name: str, shape: tuple[int, ...]) -> None:
    module, x = made(name), data(shape)
    expected = affine(name, module, TABLE[name][0](x.astype(np.float64)))
    np.testing.assert_allclose(applied(module, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", GOLDENS)
def test_values_of_pytorch(name: str) -> None:
    module, x = made(name), np.sin(np.arange(36) ** 1.5).reshape(2, 3, C)
    module.scale[...] = jnp.linspace(0.5, 1.5, C)
    if TABLE[name][2]:
        module.bias[...] = jnp.linspace(-1, 1, C)
    np.testing.assert_allclose(applied(module, x.astype(np.float32))[1, 2], GOLDENS[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_convolution_before_it_needs_a_bias_where_it_brings_none(name: str) -> None:
    assert hasattr(made(name), "bias") == TABLE[name][2]  # what ConvBlock asks
    assert {leaf.shape for leaf in jax.tree.leaves(nnx.state(made(name), nnx.Param))} <= {(C,)}


def test_running_statistics_are_the_closed_form_and_evaluation_uses_them() -> None:
    momentum, module = 0.8, made("batch", momentum=0.8, epsilon=1e-5)
    batches = [data((6, C), seed) for seed in range(4)]
    for x in batches:
        applied(module, x)
    # r_n = momentum^n r_0 + (1 - momentum) Σ momentum^(n - i) batch_i, from 0 and 1
    weights = (1 - momentum) * momentum ** np.arange(3, -1, -1)
    mean = sum(w * x.mean(0) for w, x in zip(weights, batches, strict=True))
    var = momentum**4 + sum(w * x.var(0) for w, x in zip(weights, batches, strict=True))
    np.testing.assert_allclose(module.mean[...], mean, rtol=1e-5)
    np.testing.assert_allclose(module.var[...], var, rtol=1e-5)

    module.eval()
    x = data((6, C), 9)
    expected = np.asarray(module.scale) * (x - mean) / np.sqrt(var + 1e-5) + np.asarray(module.bias)
    np.testing.assert_allclose(applied(module, x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module.mean[...], mean, rtol=1e-5, err_msg="evaluation moves nothing")


@pytest.mark.parametrize("name", NAMES)
def test_an_evaluated_output_does_not_depend_on_its_batch(name: str) -> None:
    module, x = made(name), jnp.asarray(data((6, 3, C)))
    applied(module, x)
    for train in (False, True):
        module.train() if train else module.eval()
        together, others, alone = (applied(module, x) for x in (x, x.at[1:].set(100.0), x[:1]))
        if name == "batch" and train:
            assert (together[0] != others[0]).all(), "in training it does"
        else:
            np.testing.assert_array_equal(together[0], others[0])
            np.testing.assert_allclose(together[0], alone[0], rtol=1e-5, atol=1e-6)


def test_which_mix_positions() -> None:
    x = jnp.asarray(data((2, 5, C)))
    later = x.at[:, 3:].multiply(-2.0)
    seen = {name: [np.asarray(applied(made(name), x))[:, :3] for x in (x, later)] for name in NAMES}
    mixing = {name for name, (one, other) in seen.items() if not np.array_equal(one, other)}
    assert mixing == MIXES_POSITIONS


@pytest.mark.parametrize("name", [name for name in LEARNED if name != "rms"])
def test_it_is_not_fooled_by_a_large_mean(name: str) -> None:
    # E[x²] - E[x]² in float32 would be noise.
    module = components.resolve("norm", name, ())(64, nnx.Rngs(0))
    y = np.asarray(applied(module, 1e4 + data((64, 64, 64)) / 3))
    np.testing.assert_allclose(y.mean(), 0, atol=0.01)
    np.testing.assert_allclose(y.std(), 1, atol=0.01)


def test_none_gives_back_its_input() -> None:
    x = jnp.asarray(data((6, C)))
    assert norms.none(C, nnx.Rngs(0))(x) is x


@pytest.mark.parametrize(("name", "shape"), [case for case in CASES if case[0] in LEARNED and len(case[1]) != 3])
def test_gradient(name: str, shape: tuple[int, ...]) -> None:
    with jax.enable_x64(True):
        graphdef, state = nnx.split(made(name))
        params, rest = nnx.split_state(optax.tree.cast(state, jnp.float64), nnx.Param, ...)
        weights = jnp.asarray(np.random.default_rng(3).normal(size=shape))

        def f(at):
            module = nnx.merge(graphdef, at[0], rest, copy=True)
            return (weights * module(at[1]) ** 2).sum()

        assert_gradient(f, (params, jnp.asarray(data(shape), jnp.float64)))


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_in_and_out_statistics_in_float32(name: str, dtype: Any) -> None:
    x = data((16, 5, C))
    exact = np.asarray(applied(made(name, epsilon=1e-5), x))
    graphdef, params, rest = nnx.split(made(name, epsilon=1e-5), nnx.Param, ...)
    module = nnx.merge(graphdef, optax.tree.cast(params, dtype), rest)
    y = applied(module, jnp.asarray(x, dtype))
    assert y.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, np.float32), exact, atol=0.06)
    if name == "batch":
        assert module.mean[...].dtype == module.var[...].dtype == jnp.float32
    # Squares of 300 overflow float16: the statistics must not be computed in it.
    large = applied(module, 100 * jnp.asarray(x, dtype))
    np.testing.assert_allclose(np.asarray(large, np.float32), exact, atol=0.06)


@pytest.mark.parametrize("name", LEARNED)
def test_value_and_gradient_are_finite_for_tiny_and_huge_inputs(name: str) -> None:
    graphdef, state = nnx.split(made(name, epsilon=1e-6))
    f = quick(jax.value_and_grad(lambda x: (nnx.merge(graphdef, state, copy=True)(x) ** 3).sum()))
    for size in (0.0, 1e-20, 1e4, 1e15):
        value, gradient = f(jnp.asarray(size * data((4, 3, C))))
        assert np.isfinite(value), size
        assert np.isfinite(gradient).all(), size


@pytest.mark.parametrize(
    ("features", "groups"), [(512, 32), (128, 32), (100, 25), (64, 16), (16, 4), (12, 3), (8, 2), (101, 1), (3, 1)]
)
def test_how_many_groups_there_are_unless_said(features: int, groups: int) -> None:
    assert norms.group(features, nnx.Rngs(0)).num_groups == groups  # pyright: ignore[reportAttributeAccessIssue]


def test_group_norm_is_between_layer_and_instance_norm() -> None:
    for shape, groups, other in (((4, C), 1, "layer"), ((2, 7, C), C, "instance")):
        x = data(shape)
        expected = applied(made(other), x)
        np.testing.assert_allclose(applied(made("group", groups=groups), x), expected, rtol=1e-4, atol=1e-5)


def test_what_they_cannot_normalise() -> None:
    with pytest.raises(Unfit) as error:
        norms.group(C, nnx.Rngs(0), groups=4)
    assert error.value.at("model") == "norm.groups=4: must divide the 6 features of a layer: 1, 2, 3, 6"
    with pytest.raises(Unfit, match=r"norm.groups=6 must leave a group more than one of the 6 features"):
        norms.group(C, nnx.Rngs(0), groups=C)(jnp.ones((4, C)))
    for shape in ((4, C), (4, 1, 1, C)):
        with pytest.raises(Unfit) as error:
            made("instance")(jnp.ones(shape))
        assert error.value.at("model").startswith("norm=instance: must be another, such as layer: ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("norm=instance",), "norm=instance: must be another, such as layer: this model has a layer of 256 features"),
        (("norm=group", "norm.groups=3"), "norm.groups=3: must divide the 256 features of a layer: 1, 2, 4, 8"),
        (("norm=group", "norm.groups=256"), "norm.groups=256: must leave a group more than one of the 256 features"),
        (("norm=group", "norm.groups=0"), "norm.groups=0: not allowed; allowed: a whole number in [1, 2^31) or null"),
    ],
)
def test_refused_in_one_line(dlrun: Callable, own_folder: Any, words: tuple[str, ...], line: str) -> None:
    done = dlrun(*words)
    assert done.code == 2
    assert done.err.startswith(f"error: {line}")
    assert done.err.count("\n") == 1
    assert not list(own_folder.iterdir())
