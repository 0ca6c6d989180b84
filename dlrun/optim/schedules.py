"""Learning-rate schedules: ``f(step, total, peak)``, the rate of optimizer step ``step`` (from 0) of ``total``.

All three may be traced scalars, and so may the keyword-only parameters, the keys of ``conf/schedule/<name>.yaml``.
A length, such as ``warmup``, is a fraction of ``total`` below 1, else a number of steps. In the formulas t is
step / total, held within [0, 1].
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
    """peak."""
    return jnp.asarray(peak)


def cosine(step: Array, total: Array, peak: Array, *, final: Rate = 0.0) -> Array:
    """peak·(final + (1 - final)·(1 + cos(π t)) / 2). Loshchilov & Hutter, 2017 (one cycle)."""
    return peak * (final + (1 - final) * _falling(_progress(step, total)))


def warmup_cosine(step: Array, total: Array, peak: Array, *, warmup: NonNegative = 0.05, final: Rate = 0.0) -> Array:
    """peak·(step + 1) / n over the first n = ``warmup`` steps, then :func:`cosine` over the rest.

    The first step's rate is never 0.
    """
    n = _steps(warmup, total)
    return jnp.where(step < n, peak * _rising(step, n), cosine(step - n, total - n, peak, final=final))


def warmup(step: Array, total: Array, peak: Array, *, warmup: NonNegative = 0.05) -> Array:
    """peak·min(1, (step + 1) / n), n = ``warmup`` steps. Goyal et al., 2017."""
    return peak * _rising(step, _steps(warmup, total))


def step(step: Array, total: Array, peak: Array, *, every: Positive = 0.3, factor: Rate = 0.1) -> Array:
    """peak·factor^⌊step / n⌋, n = ``every`` steps. He et al., 2016."""
    n = jnp.maximum(_steps(every, total), 1)
    return peak * factor ** jnp.floor((step + 0.5) / n)  # half a step, so that no rounding decides


def exponential(step: Array, total: Array, peak: Array, *, final: Share = 0.01) -> Array:
    """peak·final^t: the same factor every step, and final·peak at the end."""
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
    """Half a cosine from peak/div up to peak over ``warmup`` steps, another down to peak/(div·final_div) at the end.

    Smith & Topin, 2018, in the form of PyTorch's OneCycleLR; momentum does not cycle. The peak is the rate of the
    warm-up's last step, the smallest rate that of the run's last step.
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

    Hu et al., 2024; linear and a fifth of the run as Hägele et al., 2024. Where the two ends overlap the lower holds.
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
    """peak, which the training loop multiplies by ``factor`` whenever validation has stopped improving.

    Within the step it is constant. After ``patience`` evaluations in a row without an improvement the loop scales the
    rate by ``factor``, down to ``min_scale`` of the peak.
    """
    return jnp.asarray(peak)


def _steps(length: Array | float, total: Array) -> Array:
    """A length in whole steps; a fraction of the run is meant as written: 0.21 of 300 is 63, though not in float32."""
    return jnp.floor(jnp.where(length >= 1, length, length * total * (1 + 2**-22)))


def _progress(step: Array, total: Array) -> Array:
    """t = step / total, within [0, 1]."""
    return jnp.clip(step / jnp.maximum(total, 1), 0, 1)


def _rising(step: Array, n: Array) -> Array:
    """Linearly to 1 at the last of n steps, then 1."""
    return jnp.minimum(1, (step + 1) / jnp.maximum(n, 1))


def _falling(t: Array) -> Array:
    """Half a cosine from 1 at t = 0 down to 0 at t = 1."""
    return 0.5 * (1 + jnp.cos(jnp.pi * t))
