"""The training state, which lives on the devices, and the part of it that is saved."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
from flax import nnx
from jax import Array

from dlrun.nn.hyperparameter import Hyperparameter
from dlrun.optim.loss_scale import LossScale


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["step", "params", "variables", "opt_state", "ema", "loss_scale", "skipped", "key", "numbers"],
    meta_fields=[],
)
@dataclass(frozen=True)
class TrainState:
    """Everything that a step reads and writes beside its batch.

    Args:
      step: optimizer steps taken, int32 ().
      params: the parameters, which the optimizer trains.
      variables: the model's other variables: batch statistics, dropout keys and rates.
      opt_state: the optimizer's state.
      ema: moving average of ``params``, or None.
      loss_scale: the scale of the loss in float16; None in other precisions.
      skipped: how many steps had a loss or gradient that was not finite, int32 (). Once it is above
        ``numbers["max_skipped"]``, no step changes the state any more.
      key: the run's random key.
      numbers: hyperparameters by path, float32 () each: ``optim.lr``, ``schedule.warmup``, ``total_steps`` …
    """

    step: Array
    params: nnx.State
    variables: nnx.State
    opt_state: Any
    ema: nnx.State | None
    loss_scale: LossScale | None
    skipped: Array
    key: Array
    numbers: dict[str, Array]


def kept(state: TrainState) -> dict[str, Any]:
    """The part of a state that is saved: everything but the numbers, which follow from the configuration."""
    parts = {k: getattr(state, k) for k in ("step", "params", "opt_state", "ema", "loss_scale", "skipped", "key")}
    return parts | {"variables": nnx.filter_state(state.variables, nnx.Not(Hyperparameter))}


def with_kept(state: TrainState, saved: dict[str, Any]) -> TrainState:
    """``state`` with the part that :func:`kept` gives replaced by ``saved``."""
    numbers = nnx.filter_state(state.variables, Hyperparameter)
    return replace(state, **{**saved, "variables": nnx.merge_state(saved["variables"], numbers)})
