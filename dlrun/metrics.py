"""What a kind of target asks for: the loss to minimise and the metrics to report."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dlrun.losses import cross_entropy


@dataclass(frozen=True)
class Task:
    """A loss and metrics, each a value an example: functions of outputs (B, ...) and targets (B, ...), shape (B,).

    Args:
      loss: also takes label smoothing.
      metrics: by name; a metric's value over a split is the mean over its examples.
      main: the metric that chooses the best state by default.
      smaller: the metrics that are better when smaller.
    """

    loss: Callable[[Array, Array, Array], Array]
    metrics: dict[str, Callable[[Array, Array], Array]]
    main: str
    smaller: tuple[str, ...] = ("loss",)

    def mode(self, metric: str) -> str:
        """``min`` or ``max``: when a metric such as ``val/loss`` is better."""
        return "min" if metric.split("/")[-1] in self.smaller else "max"


def accuracy(logits: Array, labels: Array) -> Array:
    """1 where the largest logit is the label's, else 0."""
    return (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)


TASKS = {
    # The loss reported is the cross-entropy without smoothing, so that it compares across runs.
    "classification": Task(cross_entropy, {"loss": cross_entropy, "accuracy": accuracy}, main="val/accuracy"),
}
