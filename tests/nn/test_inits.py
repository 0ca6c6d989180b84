"""Initialisers: their distribution by dense and convolution kernels, and what ``auto`` chooses before what."""

import functools
import math
from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from dlrun.config import catalogue, components
from dlrun.config.choice import Choice
from dlrun.nn import inits
from dlrun.nn.declared import NONE_FOLLOWS, Following, Init, activation, declared
from tests.nn.test_activations import GATED, made
from tests.nn.test_activations import NAMES as ACTIVATIONS
from tests.tiny import quick

NAMES = sorted({catalogue.component(f) for f in catalogue.options("init", [catalogue.conf()]).values()})
SHAPES = {(400, 300): (400, 300), (3, 3, 40, 60): (360, 540)}  # shape: fans
CONVOLUTION = (3, 3, 40, 60)


def uniform(std: float) -> Any:
    return stats.uniform(-math.sqrt(3) * std, 2 * math.sqrt(3) * std)


# The distribution of a value, by fan in and out.
DISTRIBUTIONS: dict[str, Callable[[int, int], Any]] = {
    "he_normal": lambda i, o: stats.norm(0, math.sqrt(2 / i)),
    "he_uniform": lambda i, o: uniform(math.sqrt(2 / i)),
    "xavier_normal": lambda i, o: stats.norm(0, math.sqrt(2 / (i + o))),
    "xavier_uniform": lambda i, o: uniform(math.sqrt(2 / (i + o))),
    "lecun_normal": lambda i, o: stats.norm(0, math.sqrt(1 / i)),
    "truncated_normal": lambda i, o: stats.truncnorm(-2, 2, scale=0.02),
}
OTHERS = {"auto", "orthogonal", "zeros"}  # with tests of their own
SCALED = [name for name in NAMES if name != "zeros"]

# What the papers that the docstring of auto names take before these; each other activation declares its own.
PUBLISHED: dict[str, str] = dict.fromkeys(
    ("relu", "prelu", "leaky_relu", "elu", "gelu", "glu", "geglu", "swiglu"), "he_normal"
)
PUBLISHED |= {"tanh": "xavier_uniform", "sigmoid": "xavier_uniform", "selu": "lecun_normal", "identity": "lecun_normal"}
PUBLISHED |= {"relu_squared": "lecun_normal"}


def following(name: str) -> Following:
    """What an initialiser is given for a layer before an activation."""
    return Following.of(Choice(components.resolve("act", name, ())))


@functools.cache
def drawn(name: str, shape: tuple[int, ...], activation: str = "relu", seed: int = 0, **values: float) -> np.ndarray:
    init = components.resolve("init", name, ())(following(activation), **values)
    return np.asarray(init(jax.random.key(seed), shape, jnp.float32))


def test_every_option_has_a_row() -> None:
    assert set(NAMES) == DISTRIBUTIONS.keys() | OTHERS


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(name: str, shape: tuple[int, ...]) -> None:
    sample, expected = drawn(name, shape).ravel(), DISTRIBUTIONS[name](*SHAPES[shape])
    error = expected.std() / math.sqrt(sample.size)
    assert abs(sample.mean()) < 4 * error
    assert sample.std() == pytest.approx(expected.std(), abs=4 * error)
    low, high = expected.support()
    assert low * (1 + 1e-6) <= sample.min()
    assert sample.max() <= high * (1 + 1e-6)
    assert stats.kstest(sample, expected.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"auto"}))
def test_what_follows_changes_nothing_but_auto(name: str) -> None:
    np.testing.assert_array_equal(drawn(name, CONVOLUTION, "tanh"), drawn(name, CONVOLUTION, "identity"))


@pytest.mark.parametrize("name", SCALED)
def test_the_key_alone_decides(name: str) -> None:
    one, other, again = (drawn.__wrapped__(name, CONVOLUTION, seed=seed).ravel() for seed in (1, 2, 1))
    np.testing.assert_array_equal(one, again)
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / math.sqrt(one.size)


@pytest.mark.parametrize("shape", [(60, 60), (90, 30), (30, 90), (3, 3, 8, 20), (1, 1, 8, 32)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = drawn("orthogonal", shape).astype(np.float64).reshape(-1, shape[-1])
    product = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(product, np.eye(min(w.shape)), atol=1e-5)


def test_orthogonal_matrices_are_of_no_preferred_direction() -> None:
    # The plain Q of a QR decomposition prefers negative diagonals; uniformly distributed entries have mean 0, var 1/n.
    init, n = inits.orthogonal("relu"), 8
    w = np.asarray(jax.vmap(lambda key: init(key, (n, n), jnp.float32))(jax.random.split(jax.random.key(0), 2000)))
    np.testing.assert_allclose(w.mean(0), 0, atol=5 / math.sqrt(2000 * n))
    np.testing.assert_allclose(w.var(0), 1 / n, rtol=0.25)


def test_zeros() -> None:
    for shape in SHAPES:
        assert (drawn("zeros", shape) == 0).all()


def test_truncated_normal_of_another_width() -> None:
    np.testing.assert_allclose(
        drawn("truncated_normal", CONVOLUTION, std=0.1), 5 * drawn("truncated_normal", CONVOLUTION), rtol=1e-5
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_declares_what_it_needs(name: str) -> None:
    init = following(name).init
    assert init is not None
    np.testing.assert_array_equal(drawn("auto", CONVOLUTION, name), drawn(init, CONVOLUTION, name))


@pytest.mark.parametrize("name", PUBLISHED)
def test_auto_is_as_published(name: str) -> None:
    np.testing.assert_array_equal(drawn("auto", CONVOLUTION, name), drawn(PUBLISHED[name], CONVOLUTION))


def test_auto_takes_lecun_normal_where_nothing_follows_or_nothing_is_declared() -> None:
    for given in (NONE_FOLLOWS, Following.of(Choice(lambda x: x))):
        init = inits.auto(given)
        found = np.asarray(init(jax.random.key(0), CONVOLUTION, jnp.float32))
        np.testing.assert_array_equal(found, drawn("lecun_normal", CONVOLUTION))


def test_what_can_be_declared_is_there() -> None:
    assert {*get_args(Init)} == inits.BY_NAME.keys()
    assert all(name in NAMES for name in inits.BY_NAME)
    with pytest.raises(ValueError, match=r"init='he_norml': not allowed \(did you mean 'he_normal'\?\)"):
        activation(init="he_norml")  # pyright: ignore[reportArgumentType]


def test_what_saturates_says_so() -> None:
    """Its slope is next to nothing at 5 and at -5; that of a rectifier is so on one side at most."""
    slopes = {n: jax.vmap(jax.grad(made(n, 1) if n != "prelu" else lambda x: x))(jnp.array([-5.0, 5.0]))
              for n in ACTIVATIONS if n not in GATED}  # fmt: skip
    found = {n for n, slope in slopes.items() if (jnp.abs(slope) < 0.01).all()}
    assert found == {n for n in ACTIVATIONS if declared(Choice(components.resolve("act", n, ()))).saturates}


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_scale_multiplies_and_may_be_traced(name: str, activation: str) -> None:
    init, plain = getattr(inits, name), drawn(name, CONVOLUTION, activation)
    draw = quick(lambda s: init(following(activation), scale=s)(jax.random.key(0), CONVOLUTION, jnp.float32))
    for scale in (0.25, 3.0):
        np.testing.assert_allclose(draw(scale), scale * plain, rtol=1e-4, atol=1e-6 * scale)
    assert draw._cache_size() == 1


@pytest.mark.parametrize("name", NAMES)
def test_layers_take_it(name: str) -> None:
    init = getattr(inits, name)(following("relu"))
    linear = nnx.eval_shape(lambda: nnx.Linear(6, 4, kernel_init=init, rngs=nnx.Rngs(0)))
    convolution = nnx.eval_shape(lambda: nnx.Conv(6, 4, (3, 3), kernel_init=init, rngs=nnx.Rngs(0)))
    assert (linear.kernel.shape, linear.kernel.dtype) == ((6, 4), jnp.float32)
    assert (convolution.kernel.shape, convolution.kernel.dtype) == ((3, 3, 6, 4), jnp.float32)


DEEP = ("elu", "gelu", "identity", "leaky_relu", "mish", "prelu", "relu", "selu", "softplus", "tanh")


@pytest.mark.parametrize("activation", DEEP)
def test_auto_keeps_signals_alive_through_thirty_layers(activation: str) -> None:
    """Those that are left out need a norm: of products or of small slopes at 0, thirty are nothing or infinite."""
    kernels = deep(following(activation).init or "")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(100, 128)), jnp.float32)
    act = made(activation, 128)

    @quick
    def signal(scale):
        y, _ = jax.lax.scan(lambda h, kernel: (act(scale * h @ kernel), None), x, kernels)
        return jnp.sqrt((y**2).mean()), y.std(0).mean()  # what is left of the differences between examples

    assert 0.05 < signal(1.0)[0] < 8
    assert signal(0.25)[1] < 1e-3, "and with a quarter of it they vanish"


@functools.cache
def deep(name: str) -> jax.Array:
    init = getattr(inits, name)("any")
    return jax.vmap(lambda key: init(key, (128, 128), jnp.float32))(jax.random.split(jax.random.key(1), 30))
