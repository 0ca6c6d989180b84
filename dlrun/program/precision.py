"""Warns of matrix products and convolutions that a model does not compute in the half precision it was asked for."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax.extend import core

PRODUCTS = ("dot_general", "conv_general_dilated")


def equations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """All equations of a jaxpr, those of its loops, branches and inner functions included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in core.jaxprs_in_params(equation.params):
            yield from equations(inner)


def products(jaxpr: core.Jaxpr) -> list[tuple[Any, Any]]:
    """The shapes and dtypes of the two factors of every matrix product and convolution of floating-point numbers."""
    factors: list[tuple[Any, Any]] = [
        (e.invars[0].aval, e.invars[1].aval) for e in equations(jaxpr) if e.primitive.name in PRODUCTS
    ]
    return [both for both in factors if all(jnp.issubdtype(f.dtype, jnp.floating) for f in both)]


def misses(forward: core.Jaxpr, dtype: Any) -> list[str]:
    """A warning, if products of a model's forward pass are not computed in the half precision ``dtype``."""
    every = products(forward)
    others = [both for both in every if any(f.dtype != dtype for f in both)]
    if dtype == jnp.float32 or not others:  # in float32, a model may choose half precision for itself
        return []
    a, b = (f.str_short() for f in others[0])
    return [
        f"precision={dtype}: {len(others)} of the model's {len(every)} matrix products and convolutions are not "
        f"computed in {dtype}, the first of {a} and {b}: a float32 array in the model turns "
        "whatever it is combined with into float32"
    ]
