"""Learning-rate schedules: ``f(step, total, peak)`` gives the rate of optimizer step ``step`` (from 0) of ``total``.

All three may be traced scalars. So may the keyword-only parameters, which are the keys of
``conf/schedule/<name>.yaml``. A length, such as ``warmup``, is a fraction of ``total`` if it is below 1, otherwise a
number of steps. In the formulas t is step / total, clipped to [0, 1].
"""

from typing import Annotated

import jax.numpy as jnp
from jax import Array
from pydantic import Field

from dlrun.config.schema import NonNegative, Positive, Rate, Traced

Share = Annotated[float, Field(gt=0, lt=1), Traced()]
Divisor = Annotated[float, Field(ge=1), Traced()]
Evaluations = Annotated[int, Field(ge=1, lt=2**24), Traced()]


def constant(step: Array, total: Array, peak: Array) -> Array:
    """The peak at every step."""
    return jnp.asarray(peak)


def cosine(step: Array, total: Array, peak: Array, *, final: Rate = 0.0) -> Array:
    """peak·(final + (1 - final)·(1 + cos(π t)) / 2). Loshchilov & Hutter, 2017, without restarts."""
    return peak * (final + (1 - final) * _falling(_progress(step, total)))


def warmup_cosine(step: Array, total: Array, peak: Array, *, warmup: NonNegative = 0.05, final: Rate = 0.0) -> Array:
    """peak·(step + 1) / n over the first n = ``warmup`` steps, then :func:`cosine` over the rest.

    The + 1 keeps the first step's rate above 0.
    """
    n = _steps(warmup, total)
    return jnp.where(step < n, peak * _rising(step, n), cosine(step - n, total - n, peak, final=final))


def warmup(step: Array, total: Array, peak: Array, *, warmup: NonNegative = 0.05) -> Array:
    """peak·min(1, (step + 1) / n), n = ``warmup`` steps. Goyal et al., 2017."""
    return peak * _rising(step, _steps(warmup, total))


def step(step: Array, total: Array, peak: Array, *, every: Positive = 0.3, factor: Rate = 0.1) -> Array:
    """peak·factor^⌊step / n⌋, n = ``every`` steps. He et al., 2016."""
    n = jnp.maximum(_steps(every, total), 1)
    return peak * factor ** jnp.floor((step + 0.5) / n)  # + 0.5: where step / n is whole, rounding might go either way


def exponential(step: Array, total: Array, peak: Array, *, final: Share = 0.01) -> Array:
    """peak·final^t: every step multiplies the rate by the same factor, down to final·peak at the end."""
    return peak * final ** _progress(step, total)


def linear(step: Array, total: Array, peak: Array, *, final: Rate = 0.0) -> Array:
    """peak·(1 - (1 - final)·t)."""
    return peak * (1 - (1 - final) * _progress(step, total))


def one_cycle(
    step: Array,
    total: Array,
    peak: Array,
    *,
    warmup: NonNegative = 0.3,
    div: Divisor = 25.0,
    final_div: Divisor = 1e4,
) -> Array:
    """Half a cosine from peak/div up to peak over ``warmup`` steps, then half a cosine down to peak/(div·final_div).

    Smith & Topin, 2018, as in PyTorch's OneCycleLR, except that momentum does not cycle. The last step of the warm-up
    has the peak rate, and the last step of the run has the smallest.
    """
    top = jnp.maximum(_steps(warmup, total), 1) - 1
    up, down = _falling(_progress(step, top)), _falling(_progress(step - top, total - 1 - top))
    lowest = 1 / (div * final_div)
    return peak * jnp.where(step < top, 1 + (1 / div - 1) * up, lowest + (1 - lowest) * down)


def wsd(
    step: Array,
    total: Array,
    peak: Array,
    *,
    warmup: NonNegative = 0.05,
    decay: NonNegative = 0.2,
    final: Rate = 0.0,
) -> Array:
    """Warm-up, stable, decay: :func:`warmup`, then peak, then linearly to final·peak over the last ``decay`` steps.

    Hu et al., 2024; that the decay is linear and a fifth of the run is from Hägele et al., 2024. Where warm-up and
    decay overlap, the lower rate holds.
    """
    left = jnp.clip((total - step) / jnp.maximum(_steps(decay, total), 1), 0, 1)
    return peak * jnp.minimum(_rising(step, _steps(warmup, total)), final + (1 - final) * left)


def inverse_sqrt(step: Array, total: Array, peak: Array, *, warmup: NonNegative = 0.05) -> Array:
    """peak·min((step + 1) / n, √(n / (step + 1))), n = ``warmup`` steps. Vaswani et al., 2017."""
    n = jnp.maximum(_steps(warmup, total), 1)
    return peak * jnp.minimum((step + 1) / n, jnp.sqrt(n / (step + 1)))


def plateau(
    step: Array,
    total: Array,
    peak: Array,
    *,
    factor: Rate = 0.1,
    patience: Evaluations = 5,
    min_scale: Rate = 0.0,
) -> Array:
    """The peak, which the training loop lowers whenever validation has stopped improving.

    This function only gives the peak. After ``patience`` evaluations in a row without an improvement, the training loop
    multiplies the rate by ``factor``, but never below ``min_scale`` times the peak.
    """
    return jnp.asarray(peak)


def _steps(length: Array | float, total: Array) -> Array:
    """A length in whole steps. A fraction counts as written: 0.21 of 300 is 63, though float32 rounds 0.21 down."""
    return jnp.floor(jnp.where(length >= 1, length, length * total * (1 + 2**-22)))


def _progress(step: Array, total: Array) -> Array:
    """t = step / total, clipped to [0, 1]."""
    return jnp.clip(step / jnp.maximum(total, 1), 0, 1)


def _rising(step: Array, n: Array) -> Array:
    """(step + 1) / n: rises linearly to 1 at the last of n steps, then stays 1."""
    return jnp.minimum(1, (step + 1) / jnp.maximum(n, 1))


def _falling(t: Array) -> Array:
    """Half a cosine from 1 at t = 0 down to 0 at t = 1."""
    return 0.5 * (1 + jnp.cos(jnp.pi * t))
