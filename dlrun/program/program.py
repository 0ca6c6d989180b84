"""The choices of a run: what is compiled, as opposed to the numbers that the compiled program reads."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from dlrun.config.choice import Choice
from dlrun.nn.hyperparameter import Number
from dlrun.nn.parts import Inputs, Parts
from dlrun.objective.metrics import Task
from dlrun.optim.optimizers import kernels


@dataclass(frozen=True, eq=False)
class Program:
    """The choices of a run: what is compiled, as opposed to the numbers that the compiled program reads.

    Args:
      model, act, norm, init, optim, schedule, augment: components with their static values.
      loss: of outputs and targets.
      inputs, outputs: form of an example and number of outputs of the model.
      task: metrics.
      teacher: of a loss that compares with one: its outputs for inputs, given its arrays.
      dtype: of the forward and backward pass; parameters and optimizer stay float32.
      matmul_precision: of products and convolutions of float32: a GPU can round their operands, which is faster.
      accumulate: parts that a batch is split into.
      loop: whether several steps are one dispatch, in a loop on the device. XLA runs a convolution inside a loop 10 to
        14 times slower on CPU, and everything else faster.
    """

    model: Choice
    act: Choice
    norm: Choice
    init: Choice
    optim: Choice
    schedule: Choice
    augment: Choice
    loss: Choice
    inputs: Inputs
    outputs: int
    task: Task
    dtype: Any = jnp.float32
    matmul_precision: str = "float32"
    accumulate: int = 1
    loop: bool = True
    teacher: Callable[[Any, Array], Array] | None = None

    def build(self, key: Array, numbers: dict[str, Array]) -> nnx.Module:
        """The model, with dropout rate and initialisation scale from ``numbers``."""
        init = partial(self.init, **section(numbers, "init"))
        rate = numbers.get("dropout")
        parts = Parts(
            activation=self.act,
            norm=self.norm,
            kernel_init=init(self.act.name),
            linear_init=init("identity"),
            rate=None if rate is None else Number(rate),
        )
        rngs = nnx.Rngs(params=jax.random.fold_in(key, 0), dropout=jax.random.fold_in(key, 1))
        return self.model(self.inputs, self.outputs, parts, rngs, **section(numbers, "model"))

    def optimizer(self, numbers: dict[str, Array], lr: Array) -> optax.GradientTransformation:
        """The optimizer with the numbers of this step; its state's form does not depend on them."""
        return self.optim(kernels, **{**section(numbers, "optim"), "lr": lr})


def section(numbers: dict[str, Array], group: str) -> dict[str, Array]:
    """The numbers of a group, without its prefix."""
    return {k.removeprefix(group + "."): v for k, v in numbers.items() if k.startswith(group + ".")}
