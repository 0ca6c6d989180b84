"""Activations: ``f(x)``, elementwise; keyword-only parameters are the keys of ``conf/act/<name>.yaml``."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array
from pydantic import Field


def relu(x: Array) -> Array:
    """max(0, x). Nair & Hinton, 2010; the gradient at 0 is 0."""
    return jax.nn.relu(x)


def leaky_relu(x: Array, *, negative_slope: Annotated[float, Field(ge=0)] = 0.01) -> Array:
    """x if x > 0 else negative_slope·x. Maas et al., 2013."""
    return jax.nn.leaky_relu(x, negative_slope)


def elu(x: Array, *, alpha: Annotated[float, Field(gt=0)] = 1.0) -> Array:
    """x if x > 0 else alpha·(exp(x) - 1). Clevert et al., 2015."""
    return jax.nn.elu(x, alpha)


def gelu(x: Array, *, approximate: bool = False) -> Array:
    """x·Φ(x), Φ the standard normal distribution function. Hendrycks & Gimpel, 2016."""
    return jax.nn.gelu(x, approximate=approximate)


def swish(x: Array) -> Array:
    """x·sigmoid(x), also called SiLU. Ramachandran et al., 2017."""
    return jax.nn.silu(x)


def tanh(x: Array) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)); its gradient is at most 1."""
    return jnp.tanh(x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)); its gradient is at most 1/4."""
    return jax.nn.sigmoid(x)
