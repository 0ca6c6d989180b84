"""Learning-rate schedules: ``f(step, total, peak)``, the rate of optimizer step ``step`` (from 0) of ``total``.

All three may be traced scalars, and so may the keyword-only parameters, the keys of ``conf/schedule/<name>.yaml``.
"""

import jax.numpy as jnp
from jax import Array

from dlrun.schema import NonNegative, Rate


def constant(step: Array, total: Array, peak: Array) -> Array:
    """peak."""
    return jnp.asarray(peak)


def cosine(step: Array, total: Array, peak: Array, *, final: Rate = 0.0) -> Array:
    """peak·(final + (1 - final)·(1 + cos(π t)) / 2), t = step / total. Loshchilov & Hutter, 2017 (one cycle)."""
    t = jnp.clip(step / jnp.maximum(total, 1), 0, 1)
    return peak * (final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * t)))


def warmup_cosine(step: Array, total: Array, peak: Array, *, warmup: NonNegative = 0.05, final: Rate = 0.0) -> Array:
    """peak·(step + 1) / n over the first n steps, then :func:`cosine` over the rest.

    n is ``warmup`` where it is at least 1, else that fraction of ``total``. The first step's rate is never 0.
    """
    n = jnp.floor(jnp.where(warmup >= 1, warmup, warmup * total))
    rising = peak * (step + 1) / jnp.maximum(n, 1)
    return jnp.where(step < n, rising, cosine(step - n, total - n, peak, final=final))
