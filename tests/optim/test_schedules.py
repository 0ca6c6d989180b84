"""Schedules against NumPy and PyTorch, and their promises: within [0, peak], no step lost, finite for ever."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.config import catalogue
from dlrun.config.schema import keys
from dlrun.optim import schedules

STEPS = np.arange(40)
TRACES: list[str] = []


def rates(name: str, total: int, peak: float, steps=STEPS, **values: float) -> np.ndarray:
    """The rate of each step, through one compiled function with everything traced."""
    numbers = {k: jnp.float32(v) for k, v in values.items()}
    found = compiled(name)(jnp.asarray(steps, jnp.int32), jnp.float32(total), jnp.float32(peak), numbers)
    return np.asarray(found, np.float64)


@cache
def compiled(name: str) -> Callable[..., jax.Array]:
    def one(step, total, peak, values):
        TRACES.append(name)
        return getattr(schedules, name)(step, total, peak, **values)

    return jax.jit(jax.vmap(one, (0, None, None, None)))


def length(value: float, total: int) -> int:
    return int(value) if value >= 1 else int(np.floor(round(value * total, 6)))


def constant(s, total):
    return 1.0


def cosine(s, total, final):
    return final + (1 - final) * (1 + np.cos(np.pi * min(s / total, 1))) / 2


def warmup_cosine(s, total, warmup, final):
    n = length(warmup, total)
    return (s + 1) / n if s < n else cosine(s - n, max(total - n, 1), final)


def warmup(s, total, warmup):
    n = length(warmup, total)
    return (s + 1) / n if s < n else 1.0


def step(s, total, every, factor):
    return factor ** (s // max(length(every, total), 1))


def exponential(s, total, final):
    return final ** min(s / total, 1)


def linear(s, total, final):
    return 1 - (1 - final) * min(s / total, 1)


def one_cycle(s, total, warmup, div, final_div):
    top = max(length(warmup, total), 1) - 1
    if s < top:
        low, t = 1 / div, 1 - s / top
    else:
        low, t = 1 / div / final_div, min((s - top) / max(total - 1 - top, 1), 1)
    return low + (1 - low) * (1 + np.cos(np.pi * t)) / 2


def wsd(s, total, warmup, decay, final):
    n, d = length(warmup, total), max(length(decay, total), 1)
    rising = (s + 1) / n if s < n else 1.0
    falling = 1.0 if s <= total - d else final + (1 - final) * max(total - s, 0) / d
    return min(rising, falling)


def inverse_sqrt(s, total, warmup):
    n = max(length(warmup, total), 1)
    return (s + 1) / n if s < n else np.sqrt(n / (s + 1))


def plateau(s, total, factor, patience, min_scale):
    return 1.0


LENGTHS = (0.25, 0.05, 5, 1, 0, 0.29, 3.7)  # 0.25 of 20 steps is 5, 0.05 is 1; 0.29 is 5.8, so 5
CASES = {
    constant: [{}],
    cosine: [{"final": 0.0}, {"final": 0.1}],
    warmup_cosine: [{"warmup": n, "final": 0.1} for n in LENGTHS],
    warmup: [{"warmup": n} for n in (*LENGTHS, 30)],
    step: [{"every": n, "factor": 0.5} for n in LENGTHS if n] + [{"every": 0.5, "factor": 0.0}],
    exponential: [{"final": 0.01}, {"final": 0.9}],
    linear: [{"final": 0.0}, {"final": 0.3}],
    one_cycle: [{"warmup": n, "div": 10, "final_div": 100} for n in LENGTHS],
    wsd: [{"warmup": n, "decay": d, "final": 0.1} for n in (0.25, 3, 0, 0.8) for d in (0.29, 4, 0, 30)],
    inverse_sqrt: [{"warmup": n} for n in LENGTHS],
    plateau: [{"factor": 0.1, "patience": 5, "min_scale": 0.0}],
}
NAMES = [reference.__name__ for reference in CASES]
each_case = pytest.mark.parametrize(
    ("reference", "values"),
    [(reference, values) for reference, cases in CASES.items() for values in cases],
    ids=lambda x: x.__name__ if callable(x) else ",".join(f"{k}={v}" for k, v in x.items()),
)


def test_every_schedule_has_cases_with_all_its_keys() -> None:
    assert set(NAMES) == set(catalogue.options("schedule", [catalogue.conf()]))
    for reference, cases in CASES.items():
        known = keys(getattr(schedules, reference.__name__))
        assert all(key.traced for key in known.values())
        assert all(values.keys() == known.keys() for values in cases)


@each_case
@pytest.mark.parametrize("total", [1, 2, 20])
def test_every_rate_is_the_formula_s(reference, values: dict[str, float], total: int) -> None:
    found = rates(reference.__name__, total, 2.0, **values)
    expected = [2 * reference(int(s), total, **values) for s in STEPS]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


TORCH = {  # as in goldens/make_optim.py
    "cosine": {"final": 0.1},
    "step": {"every": 6, "factor": 0.2},
    "exponential": {"final": 0.01},
    "linear": {"final": 0.1},
    "one_cycle": {"warmup": 0.3, "div": 10.0, "final_div": 100.0},
}


@pytest.mark.parametrize("name", TORCH)
def test_rates_are_pytorch_s(name: str) -> None:
    golden = np.load(Path(__file__).parents[1] / "goldens" / "schedules.npz")[name]
    found = rates(name, 20, 0.3, np.arange(20), **TORCH[name])
    np.testing.assert_allclose(found, golden, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_one_compilation_serves_every_number(name: str) -> None:
    compiled.cache_clear()
    TRACES.clear()
    found = []
    for share in (0.25, 0.5):
        values = {k: 10 * share if key.default > 1 else share for k, key in keys(getattr(schedules, name)).items()}
        found.append(rates(name, int(80 * share), share, **values))
    assert len(TRACES) == 1
    assert not np.array_equal(*found)


@pytest.mark.parametrize(
    ("fraction", "total"), [(0.29, 100), (0.53, 100), (0.21, 300), (0.018, 1500), (0.1, 30), (0.6, 5), (0.009, 10000)]
)
def test_a_fraction_of_the_run_is_rounded_by_its_meaning_not_by_float32(fraction: float, total: int) -> None:
    n = round(fraction * total)
    found = rates("warmup_cosine", total, 1.0, np.array([n - 2, n - 1, n]), warmup=fraction, final=0.0)
    assert found[1] == pytest.approx(1.0)
    assert found[2] == pytest.approx(1.0)
    assert found[0] < 1 - 0.5 / n


LENGTH = st.integers(0, 999).map(lambda n: n / 1000) | st.integers(1, 10_000)
SHARE = st.floats(0, 0.99)
ANY = {
    "warmup": LENGTH,
    "decay": LENGTH,
    "every": LENGTH.filter(bool),
    "final": SHARE,
    "factor": SHARE,
    "min_scale": SHARE,
    "patience": st.integers(1, 100),
    "div": st.floats(1, 1e4),
    "final_div": st.floats(1, 1e6),
}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50, deadline=None)
@given(data=st.data(), total=st.integers(1, 4000), peak=st.floats(1e-6, 10))
def test_rates_stay_within_zero_and_the_peak(name: str, data, total: int, peak: float) -> None:
    values = {k: data.draw(ANY[k], k) for k in keys(getattr(schedules, name))}
    if name == "exponential":
        values["final"] = max(values["final"], 1e-6)
    n = length(values.get("warmup", 0), total)
    assert rates(name, total, peak, **values)[0] > 0, "the first step is not lost"
    for start in (0, max(0, n - 20), max(0, total - 20), 1000 * total):
        found = rates(name, total, peak, start + STEPS, **values)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert (found <= peak * (1 + 1e-5)).all()
    if 1 <= n <= total and total - n >= length(values.get("decay", 0), total):
        assert rates(name, total, peak, n - 1 + 0 * STEPS, **values)[0] == pytest.approx(peak, rel=1e-5)


@settings(max_examples=100, deadline=None)
@given(total=st.integers(1, 4000), warmup=LENGTH, decay=LENGTH, final=SHARE, start=st.integers(0, 4000))
@pytest.mark.parametrize("name", ["warmup_cosine", "wsd"])
def test_no_jump_is_beyond_the_slope(
    name: str, total: int, warmup: float, decay: float, final: float, start: int
) -> None:
    values = {"warmup": warmup, "final": final, **({"decay": decay} if name == "wsd" else {})}
    n, d = length(warmup, total), length(decay, total)
    rise, fall = 1 / max(n, 1), (1 / max(d, 1) if name == "wsd" else np.pi / 2 / max(total - n, 1))
    for first in (max(0, n - 20), max(0, total - d - 20), start):
        found = rates(name, total, 1.0, first + STEPS, **values)
        assert (np.abs(np.diff(found)) <= max(rise, fall) * 1.01 + 1e-5).all()


@settings(max_examples=50, deadline=None)
@given(total=st.integers(1, 100_000), peak=st.floats(1e-6, 10), final=st.floats(0, 0.99), start=st.integers(0, 200_000))
@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_it_falls_from_peak_to_final(name: str, total: int, peak: float, final: float, start: int) -> None:
    found = rates(name, total, peak, start + STEPS, final=final)
    assert (found <= peak * (1 + 1e-5)).all()
    assert (found >= peak * (final - 1e-6)).all()
    assert (np.diff(found) <= peak * 1e-6).all()
    np.testing.assert_allclose(rates(name, total, peak, total + STEPS, final=final), peak * final, atol=1e-6 * peak)
