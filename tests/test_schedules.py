"""Schedules against NumPy and their promises: within [0, peak], continuous, no step lost."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun import schedules

STEPS = np.arange(40)


def rates(schedule, total: int, peak: float, steps=STEPS, **values: float) -> np.ndarray:
    """The rate of each step, through one compiled function with everything traced."""
    numbers = {k: jnp.float32(v) for k, v in values.items()}
    found = compiled(schedule)(jnp.asarray(steps), jnp.float32(total), jnp.float32(peak), numbers)
    return np.asarray(found, np.float64)


@cache
def compiled(schedule):
    def one(step, total, peak, values):
        return schedule(step, total, peak, **values)

    return jax.jit(jax.vmap(one, (0, None, None, None)))


def cosine(t: np.ndarray, final: float) -> np.ndarray:
    return final + (1 - final) * 0.5 * (1 + np.cos(np.pi * np.clip(t, 0, 1)))


def test_constant() -> None:
    np.testing.assert_allclose(rates(schedules.constant, 10, 0.3), 0.3, rtol=1e-6)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine(final: float) -> None:
    found = rates(schedules.cosine, 20, 2.0, final=final)
    np.testing.assert_allclose(found, 2 * cosine(STEPS / 20, final), rtol=1e-5, atol=1e-6)
    assert found[0] == pytest.approx(2.0)
    np.testing.assert_allclose(found[20:], 2 * final, atol=1e-6)


@pytest.mark.parametrize(("warmup", "n"), [(0.25, 5), (0.05, 1), (5, 5), (1, 1), (0, 0), (0.29, 5)])
def test_warmup_cosine(warmup: float, n: int) -> None:
    found = rates(schedules.warmup_cosine, 20, 2.0, warmup=warmup, final=0.1)
    rising = 2 * (STEPS + 1) / max(n, 1)
    falling = 2 * cosine((STEPS - n) / (20 - n), 0.1)
    np.testing.assert_allclose(found, np.where(n > STEPS, rising, falling), rtol=1e-5, atol=1e-6)
    assert found[0] > 0, "the first step is not lost"


@pytest.mark.parametrize(
    ("fraction", "total"), [(0.29, 100), (0.07, 100), (0.57, 100), (0.1, 30), (0.6, 5), (0.05, 10000)]
)
def test_a_fraction_of_the_run_is_rounded_by_its_meaning_not_by_float32(fraction: float, total: int) -> None:
    n = round(fraction * total)
    found = rates(schedules.warmup_cosine, total, 1.0, np.array([n - 2, n - 1, n]), warmup=fraction, final=0.0)
    assert found[1] == pytest.approx(1.0)
    assert found[2] == pytest.approx(1.0)
    assert found[0] < 1 - 0.5 / n


@settings(max_examples=100, deadline=None)
@given(
    total=st.integers(1, 100_000),
    peak=st.floats(1e-6, 10),
    warmup=st.floats(0, 0.99) | st.integers(1, 200_000),
    final=st.floats(0, 0.99),
    start=st.integers(0, 100_000),
)
def test_warmup_cosine_stays_in_range_and_is_continuous(
    total: int, peak: float, warmup: float, final: float, start: int
) -> None:
    # 40 steps around the end of the warm-up, or from anywhere.
    n = int(np.floor(np.float32(warmup) if warmup >= 1 else np.float32(warmup) * np.float32(total)))
    for first in (max(0, n - 20), start):
        found = rates(schedules.warmup_cosine, total, peak, first + STEPS, warmup=warmup, final=final)
        assert (found >= 0).all()
        assert (found <= peak * (1 + 1e-5)).all()
    found = rates(schedules.warmup_cosine, total, peak, max(0, n - 20) + STEPS, warmup=warmup, final=final)
    rise, fall = peak / max(n, 1), peak * np.pi / 2 / max(total - n, 1)
    assert (np.abs(np.diff(found)) <= max(rise, fall) * 1.01 + 1e-5 * peak).all(), "no jump beyond a step's slope"
    if 1 <= n < total:
        at = n - 1 - max(0, n - 20)
        assert found[at] == pytest.approx(peak, rel=1e-5)
        assert found[at + 1] == pytest.approx(peak, rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(total=st.integers(1, 100_000), peak=st.floats(1e-6, 10), final=st.floats(0, 0.99), start=st.integers(0, 200_000))
def test_cosine_falls_from_peak_to_final(total: int, peak: float, final: float, start: int) -> None:
    found = rates(schedules.cosine, total, peak, start + STEPS, final=final)
    assert (found <= peak * (1 + 1e-5)).all()
    assert (found >= peak * (final - 1e-6)).all()
    assert (np.diff(found) <= peak * 1e-6).all()
