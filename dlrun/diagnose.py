"""What went wrong when a number was not finite: which quantity, in which layer, at which step."""

import contextlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.core import Tracer

from dlrun import step
from dlrun.data.feed import Feed
from dlrun.setup import Setup


class NonFinite(Exception):
    """A loss, gradient, parameter, statistic or output is not finite; the message names it, its layer and the step."""


def nonfinite(state: step.TrainState) -> dict[str, Array]:
    """By path, whether a parameter or statistic holds a number that is not finite, bool () each."""
    trees = {"parameter": state.params, "statistic": nnx.filter_state(state.variables, nnx.BatchStat)}
    return {
        f"{kind} {name(path)}": ~jnp.all(jnp.isfinite(leaf))
        for kind, tree in trees.items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def unsound(split: str, sums: dict[str, Any]) -> str | None:
    """What is not finite in an evaluation, from its sums; None if nothing is."""
    outputs, losses, inputs = map(int, sums["nonfinite"])
    if not (bad := outputs + losses):
        return None if math.isfinite(sums["loss"]) else f"{split}: the mean loss is not finite"
    what = " or ".join(name for name, n in (("outputs", outputs), ("losses", losses)) if n)
    share = 100 * bad / int(sums["count"])
    shown = f"{share:.1f}" if share >= 0.1 else f"{share:.1g}"
    also = f", nor are the inputs of {inputs} of them" if inputs else ""
    return f"{split}: the {what} of {bad} of {int(sums['count'])} examples ({shown} %) are not finite{also}"


def explain(
    setup: Setup,
    state: step.TrainState,
    feed: Feed,
    bad: dict[str, Any],
    steps: tuple[int, int],
) -> NonFinite:
    """The error to raise.

    Args:
      state: the last finite one where a loss or gradient failed, and then its step is the one that failed.
      feed: gives the rows of a step.
      bad: what :func:`nonfinite` found.
      steps: the step that was last known to be good, and the latest one.
    """
    within = f"within steps {steps[0] + 1} to {steps[1]}"
    if any(bad.values()):
        first = next(path for path, is_bad in bad.items() if is_bad)
        return NonFinite(f"{first} became not finite {within}")
    at = int(state.step)
    batch = {**feed.batch(at), **setup.constants}
    batch = step.take(batch, jnp.arange(len(batch["y"])))
    what = culprit(setup, state, batch)
    return NonFinite(f"{what} is not finite at step {at + 1}, {within}")


def culprit(setup: Setup, state: step.TrainState, batch: step.Batch) -> str:
    """Repeats a step and names the first thing in it that is not finite: a layer's output, the loss, a gradient."""
    program, numbers = setup.program, state.numbers
    batch = step.augmented(program, state, batch)
    if not bool(step.all_finite(batch["x"])):
        return "an input value"
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
                return f"{kind} {name(path)}"
    return "the gradient's norm" if program.dtype != jnp.float16 else "the scaled gradient"


def first_layer(setup: Setup, state: step.TrainState, x: Array) -> str | None:
    """The first module, innermost first, whose output is not finite; None if there is none."""
    params, x = step.halved((state.params, x), setup.program.dtype)
    model = nnx.merge(setup.graphdef, params, state.variables, copy=True)
    model.train()
    # What a layer gave within a compiled loop over time is not known: its loop's layer is named.
    known = [call for call in calls(model, x) if not isinstance(call.output, Tracer)]
    bad = [call.path for call in known if not bool(step.all_finite(call.output))]
    return bad[0] if bad else None


class Call(NamedTuple):
    """What a module was given, and gave."""

    path: str
    module: nnx.Module
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    output: Any


def calls(model: nnx.Module, x: Array) -> list[Call]:
    """The calls of all modules below ``model``, in the order in which they end."""
    paths = {id(module): name(path) for path, module in nnx.iter_modules(model) if path}
    seen: list[Call] = []

    def recording(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self, *args, **kwargs):
            output = original(self, *args, **kwargs)
            if id(self) in paths:
                seen.append(Call(paths[id(self)], self, (args, kwargs), output))
            return output

        return call

    with contextlib.ExitStack() as patches:
        for kind in {type(module) for _, module in nnx.iter_modules(model) if callable(module)}:
            patches.enter_context(mock.patch.object(kind, "__call__", recording(kind.__call__)))
        model(x)  # pyright: ignore[reportCallIssue]
    return seen


def name(path: tuple[Any, ...]) -> str:
    """A path as a person writes it: ``hidden.0.linear.kernel``."""
    inner = [p for p in path if not isinstance(p, jax.tree_util.GetAttrKey)]  # a variable's own ``value``
    return ".".join(str(getattr(p, "key", getattr(p, "idx", p))) for p in inner)
