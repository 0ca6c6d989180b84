"""The state of training on the devices, and the part of it that is saved."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
from flax import nnx
from jax import Array

from dlrun.nn.hyperparameter import Number
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
      params: what is trained.
      variables: the rest of the model: batch statistics, dropout keys and rates.
      opt_state: of the optimizer.
      ema: moving average of ``params``, or None.
      loss_scale: in float16, else None.
      skipped: steps whose loss or gradient was not finite, int32 (). Past the limit nothing changes any more.
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
    """The part of a state that is saved: all but the numbers, which follow from the configuration."""
    parts = {k: getattr(state, k) for k in ("step", "params", "opt_state", "ema", "loss_scale", "skipped", "key")}
    return parts | {"variables": nnx.filter_state(state.variables, nnx.Not(Number))}


def with_kept(state: TrainState, saved: dict[str, Any]) -> TrainState:
    """``state`` with its saved part replaced."""
    numbers = nnx.filter_state(state.variables, Number)
    return replace(state, **{**saved, "variables": nnx.merge_state(saved["variables"], numbers)})
