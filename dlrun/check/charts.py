"""Computes what is drawn of a plan: activations with their derivatives, schedules of the learning rate."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the functions below import these, so that a command that draws nothing starts quickly
    import numpy as np

    from dlrun.config.plan import Plan
    from dlrun.display.line_chart import Chart
    from dlrun.program.setup import Setup

REACH = 5.0  # an activation is drawn from -REACH to REACH
POINTS = 2000  # of a schedule at most, however many steps it has


def _activation(word: str, plan: "Plan", _: object) -> "Chart":
    """An activation and its derivative; a gated one is a function of its gate here, and its value is 1."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from flax import nnx

    from dlrun.display.line_chart import Chart
    from dlrun.nn.parts import Parts

    zeros = jax.nn.initializers.zeros
    parts = Parts(plan.choices["act"], plan.choices["norm"], zeros, zeros)
    x = jnp.linspace(-REACH, REACH, 1001)

    def function(x_N):
        act = parts.act(1, nnx.Rngs(0), gated=True)
        return act(jnp.stack([jnp.ones_like(x_N), x_N] if parts.gated else [x_N], axis=-1))[..., 0]

    y, slope = jax.jit(lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),)))(x)
    name = word.partition("=")[2] + ("(1, x)" if parts.gated else "(x)")
    curves = {name: np.asarray(y), f"derivative of {name}": np.asarray(slope)}
    return Chart(word, "x", np.asarray(x), curves)


def _schedule(word: str, plan: "Plan", prepared: Callable[["Plan"], "Setup"]) -> "Chart":
    """The learning rate at every step of the run."""
    from dlrun.display.line_chart import Chart

    total = plan.settings.steps or prepared(plan).total_steps  # the data says how many steps an epoch has
    steps, rates = learning_rates(plan, total)
    title = f"{word}: learning rate, optim.lr={plan.numbers['optim.lr']:g}"
    return Chart(title, f"step, of {total}", steps, {"learning rate": rates})


def learning_rates(plan: "Plan", total: int) -> "tuple[np.ndarray, np.ndarray]":
    """Steps of a run of ``total`` steps, from 0, and the learning rate of each by the schedule; :data:`POINTS` at most.

    What a plateau schedule makes of evaluations is not in it.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from dlrun.program.program import section

    numbers = {key: jnp.float32(value) for key, value in plan.numbers.items()}
    peak, keys = numbers["optim.lr"], section(numbers, "schedule")
    steps = np.unique(np.linspace(0, total - 1, min(total, POINTS)).astype(np.int32))
    rates = jax.jit(jax.vmap(lambda step: plan.choices["schedule"](step, jnp.float32(total), peak, **keys)))(steps)
    return steps, np.asarray(rates)


CHARTS: dict[str, Callable[..., "Chart"]] = {"act": _activation, "schedule": _schedule}
"""Functions that draw an option, by its group; they take the override, its plan, and a function to prepare plans."""
