"""Activations: functions ``f(x)``, or classes of modules, ``F(features, rngs)``, if they have parameters.

Keyword-only parameters are the keys of ``conf/act/<name>.yaml``. All but the gated ones are elementwise. The decorator
says which initialiser suits the layers before an activation, and what else it declares; :func:`dlrun.nn.inits.auto` has
the reasons.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from pydantic import Field

from dlrun.nn.declared import activation
from dlrun.nn.linear import at_least_float32


@activation(init="he_normal")
def relu(x: Array) -> Array:
    """max(0, x). Nair & Hinton, 2010; the gradient at 0 is 0."""
    return jax.nn.relu(x)


@activation(init="he_normal")
def leaky_relu(x: Array, *, negative_slope: Annotated[float, Field(ge=0)] = 0.01) -> Array:
    """x if x > 0 else negative_slope·x. Maas et al., 2013."""
    return jax.nn.leaky_relu(x, negative_slope)


@activation(init="he_normal")
class PReLU(nnx.Module):
    """x if x > 0 else a·x, with a learned a for each feature that starts at ``slope``. He et al., 2015."""

    def __init__(self, features: int, rngs: nnx.Rngs, *, slope: Annotated[float, Field(ge=0)] = 0.25):
        self.slope = nnx.Param(jnp.full(features, slope, jnp.float32))

    def __call__(self, x: Array) -> Array:
        return jnp.where(x > 0, x, (at_least_float32(self.slope[...]) * x).astype(x.dtype))


@activation(init="lecun_normal")
def relu_squared(x: Array) -> Array:
    """max(0, x)². So et al., 2021 (Primer)."""
    return jnp.square(jax.nn.relu(x))


@activation(init="he_normal")
def elu(x: Array, *, alpha: Annotated[float, Field(gt=0)] = 1.0) -> Array:
    """x if x > 0 else alpha·(exp(x) - 1). Clevert et al., 2015."""
    return jax.nn.elu(x, alpha)


@activation(init="lecun_normal")
def selu(x: Array) -> Array:
    """λ·x if x > 0 else λ·α·(exp(x) - 1), λ ≈ 1.0507 and α ≈ 1.6733. Klambauer et al., 2017.

    With ``lecun_normal`` kernels, λ and α keep mean 0 and variance 1 from layer to layer.
    """
    return jax.nn.selu(x)


@activation(init="he_normal")
def softplus(x: Array) -> Array:
    """log(1 + exp(x)), a smooth relu. Dugas et al., 2001."""
    return jax.nn.softplus(x)


@activation(init="he_normal")
def gelu(x: Array, *, approximate: bool = False) -> Array:
    """x·Φ(x), Φ the standard normal's cumulative distribution function. Hendrycks & Gimpel, 2016.

    ``approximate`` takes x/2·(1 + tanh(√(2/π)·(x + 0.044715 x³))) in its place.
    """
    return jax.nn.gelu(x, approximate=approximate)


@activation(init="he_normal")
def swish(x: Array) -> Array:
    """x·sigmoid(x), also called SiLU. Ramachandran et al., 2017."""
    return jax.nn.silu(x)


@activation(init="he_normal")
def hard_swish(x: Array) -> Array:
    """x·min(max(0, x + 3), 6) / 6, a piecewise linear and quadratic swish. Howard et al., 2019 (MobileNetV3)."""
    return jax.nn.hard_silu(x)


@activation(init="he_normal")
def mish(x: Array) -> Array:
    """x·tanh(softplus(x)). Misra, 2019."""
    return jax.nn.mish(x)


@activation(init="xavier_uniform", saturates=True)
def tanh(x: Array) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)); its gradient is at most 1."""
    return jnp.tanh(x)


@activation(init="xavier_uniform", saturates=True)
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)); its gradient is at most 1/4."""
    return jax.nn.sigmoid(x)


@activation(init="lecun_normal")
def identity(x: Array) -> Array:
    """x: two linear layers with nothing but this between them compute no more than one linear layer could."""
    return x


@activation(init="he_normal", gated=True)
def glu(x: Array) -> Array:
    """a·sigmoid(b), a and b the two halves of x. Dauphin et al., 2017."""
    value, gate = jnp.split(x, 2, axis=-1)
    return value * jax.nn.sigmoid(gate)


@activation(init="he_normal", gated=True)
def geglu(x: Array) -> Array:
    """a·gelu(b), a and b the two halves of x. Shazeer, 2020."""
    value, gate = jnp.split(x, 2, axis=-1)
    return value * gelu(gate)


@activation(init="he_normal", gated=True)
def swiglu(x: Array) -> Array:
    """a·swish(b), a and b the two halves of x. Shazeer, 2020."""
    value, gate = jnp.split(x, 2, axis=-1)
    return value * swish(gate)
