"""The part of a run's configuration that is compiled in: model, optimizer, loss and the like, without their numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from dlrun.config.catalogue import NOT_OF_A_RUN
from dlrun.config.choice import Choice
from dlrun.config.plan import Plan
from dlrun.nn.declared import NONE_FOLLOWS, Following
from dlrun.nn.hyperparameter import Hyperparameter
from dlrun.nn.parts import Inputs, Parts
from dlrun.nn.random_stream import streams
from dlrun.objective.metrics import Task
from dlrun.optim.optimizers import kernels


@dataclass(frozen=True, eq=False)
class Program:
    """The choices of a run, which are compiled in. Its numbers, such as the learning rate, are arguments of methods.

    Args:
      model, act, norm, init, optim, schedule, augment, loss: components, each with the values that are compiled in.
      inputs: the form of an example.
      outputs: how many outputs the model has.
      task: the kind of task, with its metrics.
      dtype: precision of the forward and backward pass; parameters and optimizer state stay float32.
      matmul_precision: precision of products and convolutions of float32; a GPU is faster with rounded factors.
      accumulate: how many parts a batch is split into, one after the other.
      loop: whether one call of the compiled function does several steps, in a loop on the device. On CPU, XLA runs
        convolutions inside a loop 10 to 14 times slower, and everything else faster.
      teacher: for a loss that compares with a trained model, ``teacher(arrays, x)`` gives that model's outputs.
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

    @classmethod
    def of(cls, plan: Plan, inputs: Inputs, outputs: int, task: Task) -> "Program":
        """The program of a plan, for data whose examples have this form."""
        settings, elsewhere = plan.settings, ("data", *NOT_OF_A_RUN)
        choices = {group: choice for group, choice in plan.choices.items() if group not in elsewhere}
        return cls(
            **choices,  # pyright: ignore[reportArgumentType]
            inputs=inputs,
            outputs=outputs,
            task=task,
            dtype=jnp.dtype(settings.precision),
            matmul_precision=settings.matmul_precision,
            accumulate=settings.accumulate,
        )

    def build(self, key: Array, numbers: dict[str, Array]) -> nnx.Module:
        """The model, initialised from ``key``, with its dropout rate and initialisation scale from ``numbers``."""
        init = partial(self.init, **section(numbers, "init"))
        rate = numbers.get("dropout")
        parts = Parts(
            activation=self.act,
            norm=self.norm,
            kernel_init=init(Following.of(self.act)),
            linear_init=init(NONE_FOLLOWS),
            rate=None if rate is None else Hyperparameter(rate),
        )
        rngs = streams(params=jax.random.fold_in(key, 0), dropout=jax.random.fold_in(key, 1))
        return self.model(self.inputs, self.outputs, parts, rngs, **section(numbers, "model"))

    def optimizer(self, numbers: dict[str, Array], lr: Array) -> optax.GradientTransformation:
        """The optimizer with the numbers of this step; the shapes of its state do not depend on them."""
        return self.optim(kernels, **{**section(numbers, "optim"), "lr": lr})


def section(numbers: dict[str, Array], group: str) -> dict[str, Array]:
    """The numbers of a group, without its prefix: ``lr`` for ``optim.lr``."""
    return {k.removeprefix(group + "."): v for k, v in numbers.items() if k.startswith(group + ".")}
