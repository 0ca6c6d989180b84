"""Explains a number that is not finite: which quantity it is, in which layer, at which step."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.core import Tracer

from dlrun.check.calls import calls
from dlrun.config.schema import keys
from dlrun.data.feed import Feed
from dlrun.program import step
from dlrun.program.nonfinite import NonFinite, dotted
from dlrun.program.setup import Setup
from dlrun.program.state import TrainState


def explain(
    setup: Setup,
    state: TrainState,
    feed: Feed,
    bad: dict[str, Any],
    steps: tuple[int, int],
) -> NonFinite:
    """The error that names what is not finite, where it is and at which step.

    Args:
      state: the state after the latest step. Where a loss or gradient was not finite, this is the last finite state,
        and its step is the one that failed.
      feed: gives the rows of a step.
      bad: by path, which parameters and statistics are not finite, as of :func:`dlrun.program.nonfinite.nonfinite`.
      steps: the last step that is known to be good, and the latest one.
    """
    within = f"within steps {steps[0] + 1} to {steps[1]}" if steps[1] > steps[0] + 1 else ""
    if any(bad.values()):
        first = next(path for path, is_bad in bad.items() if is_bad)
        return NonFinite(f"{first} stopped being finite {within or f'at step {steps[1]}'}")
    at = int(state.step)
    batch = {**feed.batch(at), **setup.constants}
    batch = step.take(batch, jnp.arange(len(batch["y"])))
    what = culprit(setup, state, batch)
    return NonFinite(", ".join(filter(None, [f"{what} is not finite at step {at + 1}", within])))


def remedies(setup: Setup, what: str) -> str:
    """What a person may try after a run diverged, as overrides, given the message that says what is not finite."""
    plan, settings = setup.plan, setup.plan.settings
    if what.startswith(INPUT) or "nor are the inputs of" in what:
        return f"look for such values in the data: data={plan.values['data']['name']}"
    rate, usual = plan.numbers["optim.lr"] / 10, keys(plan.choices["optim"].component)["lr"].default
    tries = [f"optim.lr={min(rate, usual) if isinstance(usual, float) else rate:.2g}"]
    tries += ["clip_norm=1"] if settings.clip_norm is None else [f"clip_norm={settings.clip_norm / 10:.2g}"]
    if "warmup" not in plan.values["schedule"]:
        tries += ["schedule=warmup_cosine"]
    if setup.program.norm.name == "none":
        tries += ["another norm"]
    if setup.program.dtype != jnp.float32:
        tries += ["precision=float32"]
    return f"{', '.join(tries[:-1])} or {tries[-1]}"


INPUT = "an input value"


def culprit(setup: Setup, state: TrainState, batch: step.Batch) -> str:
    """Repeats a step and names the first quantity that is not finite: an input, a layer's output, a gradient …"""
    program, numbers = setup.program, state.numbers
    batch = step.augmented(program, state, batch)
    if not bool(step.all_finite(batch["x"])):
        return INPUT
    if not bool(step.all_finite(batch.get("teacher"))):
        return "an output of the teacher"

    def loss_fn(params):
        outputs, variables = step.forward(program, setup.graphdef, params, state.variables, batch["x"], train=True)
        return step.losses(program, outputs, batch, numbers, train=True).mean(), variables

    (loss, variables), grads = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(state.params)
    if not bool(jnp.isfinite(loss)):
        return (
            f"the loss (first in the output of {layer})"
            if (layer := first_layer(setup, state, batch["x"]))
            else "the loss"
        )
    for tree, kind in ((grads, "the gradient of"), (nnx.filter_state(variables, nnx.BatchStat), "the statistic")):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if not bool(jnp.all(jnp.isfinite(leaf))):
                return f"{kind} {dotted(path)}"
    return "the gradient's norm" if program.dtype != jnp.float16 else "the scaled gradient"


def first_layer(setup: Setup, state: TrainState, x: Array) -> str | None:
    """The module whose call ends first of those with an output that is not finite; None if there is none."""
    params, x = step.cast_floats((state.params, x), setup.program.dtype)
    model = nnx.merge(setup.graphdef, params, state.variables, copy=True)
    model.train()
    # The outputs of layers inside a compiled loop over time are tracers; the layer that has the loop is named instead.
    known = [call for call in calls(model, x) if not isinstance(call.output, Tracer)]
    bad = [call.path for call in known if not bool(step.all_finite(call.output))]
    return bad[0] if bad else None
