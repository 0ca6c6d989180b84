"""Finds numbers that are not finite (NaN or infinite), in a state or in an evaluation."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from dlrun.program.state import TrainState


class NonFinite(Exception):
    """A loss, gradient, parameter, statistic or output is not finite; the message names it, its layer and the step."""


def nonfinite(state: TrainState) -> dict[str, Array]:
    """For each parameter and batch statistic, by path: whether it has a number that is not finite, bool ()."""
    trees = {"parameter": state.params, "statistic": nnx.filter_state(state.variables, nnx.BatchStat)}
    return {
        f"{kind} {dotted(path)}": ~jnp.all(jnp.isfinite(leaf))
        for kind, tree in trees.items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def unsound(split: str, sums: dict[str, Any]) -> str | None:
    """Says what is not finite in an evaluation, by the sums of ``step.eval_step``; None if nothing is."""
    outputs, losses, inputs = map(int, sums["nonfinite"])
    if not (bad := outputs + losses):
        return None if math.isfinite(sums["loss"]) else f"{split}: the mean loss is not finite"
    what = " or ".join(name for name, n in (("outputs", outputs), ("losses", losses)) if n)
    share = 100 * bad / int(sums["count"])
    shown = f"{share:.1f}" if share >= 0.1 else f"{share:.1g}"
    also = f", nor are the inputs of {inputs} of them" if inputs else ""
    return f"{split}: the {what} of {bad} of {int(sums['count'])} examples ({shown} %) are not finite{also}"


def dotted(path: tuple[Any, ...]) -> str:
    """A path in a pytree as a person writes it: ``hidden.0.linear.kernel``."""
    inner = [p for p in path if not isinstance(p, jax.tree_util.GetAttrKey)]  # a variable's own ``value``
    return ".".join(str(getattr(p, "key", getattr(p, "idx", p))) for p in inner)
