"""What a kind of target asks for: which metrics to report, and what they are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from dlrun.data.dataset import Dataset
from dlrun.objective.losses import cross_entropy

Sums = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """The metrics of a kind of target; the loss comes beside them.

    Args:
      metrics: by name, the share of an example that is right: ``f(outputs, targets)``, shape (B,). Reported as a mean
        over examples.
      counts: by name, a sum over examples of any shape, ``f(outputs, targets, weights)``, in evaluation only.
        Beside them, ``count`` is the number of examples.
      report: ``f(split, means, counts)`` gives what is reported of a split from the means and counts, on the host.
      details: ``f(counts)`` gives results for each class, for summary.json.
      main: the metric that chooses the best state by default.
      larger: the metrics that are better when larger.
      names: all metrics that a split is evaluated by.
    """

    metrics: dict[str, Callable[[Array, Array], Array]]
    main: str
    names: tuple[str, ...]
    counts: dict[str, Callable[[Array, Array, Array], Array]]
    report: Callable[[str, dict[str, float], Sums], dict[str, float]]
    details: Callable[[Sums], dict[str, Any]] = lambda counts: {}
    larger: tuple[str, ...] = ("accuracy", "top5", "macro_f1", "r2")

    def mode(self, metric: str) -> str:
        """``min`` or ``max``: when a metric such as ``val/loss`` is better."""
        return "max" if metric.split("/")[-1] in self.larger else "min"


UNMEASURED = Task({}, "val/loss", ("loss",), {}, lambda split, means, counts: means)
"""Of a model that only computes outputs."""


def task(data: Dataset) -> Task:
    """The task that a data set poses."""
    return {
        "classification": _classification,
        "multilabel": _multilabel,
        "regression": _regression,
        "language_modelling": _language_modelling,
    }[data.task](data)


TOP5_FROM = 20  # classes; among fewer, the five likeliest say little


def _classification(data: Dataset) -> Task:
    classes = data.outputs
    metrics: dict[str, Callable[[Array, Array], Array]] = {"accuracy": accuracy}
    if classes >= TOP5_FROM:
        metrics["top5"] = top5

    def confusion(outputs: Array, targets: Array, weights: Array) -> Array:
        return jnp.zeros((classes, classes)).at[targets, jnp.argmax(outputs, -1)].add(weights)

    def report(split: str, means: dict[str, float], counts: Sums) -> dict[str, float]:
        return {**means, "macro_f1": float(np.mean(per_class(counts["confusion"])["f1"]))}

    def details(counts: Sums) -> dict[str, Any]:
        each = {k: dict(zip(data.classes, v, strict=True)) for k, v in per_class(counts["confusion"]).items()}
        return {"per_class": each, "confusion": np.asarray(counts["confusion"]).astype(int).tolist()}

    names = ("loss", *metrics, "macro_f1")
    return Task(metrics, "val/accuracy", names, {"confusion": confusion}, report, details)


def _multilabel(data: Dataset) -> Task:
    def counted(of: Callable[[Array, Array], Array]) -> Callable[[Array, Array, Array], Array]:
        return lambda outputs, targets, weights: (weights[:, None] * of(outputs > 0, targets)).sum(0)

    counts = {
        "true_positives": counted(lambda found, true: found & true),
        "found": counted(lambda found, true: found),
        "there": counted(lambda found, true: true),
    }

    def f1(counts: Sums) -> np.ndarray:
        return 2 * counts["true_positives"] / np.maximum(counts["found"] + counts["there"], 1)

    def report(split: str, means: dict[str, float], counts: Sums) -> dict[str, float]:
        return {**means, "macro_f1": float(np.mean(f1(counts)))}

    def details(counts: Sums) -> dict[str, Any]:
        support = np.asarray(counts["there"]).astype(int).tolist()
        found = {"f1": f1(counts).tolist(), "support": support}
        return {"per_class": {k: dict(zip(data.classes, v, strict=True)) for k, v in found.items()}}

    names = ("loss", "accuracy", "macro_f1")
    return Task({"accuracy": label_accuracy}, "val/macro_f1", names, counts, report, details)


def _regression(data: Dataset) -> Task:
    """Outputs and targets are in standard deviations of the training targets; errors are reported in their units."""
    scale = data.target_scale

    def squared(outputs: Array, targets: Array, weights: Array) -> Array:
        return (weights[:, None] * jnp.square(outputs - targets)).sum(0)

    def absolute(outputs: Array, targets: Array, weights: Array) -> Array:
        return (weights[:, None] * jnp.abs(outputs - targets)).sum(0)

    def report(split: str, means: dict[str, float], counts: Sums) -> dict[str, float]:
        # The split's own spread is of its raw targets: in float32, or as a difference of large sums, it would be lost.
        n, spread = float(counts["count"]), data.spreads[split] / scale
        error, absolute = (np.asarray(counts[k], np.float64) / n for k in ("squared", "absolute"))
        varies = spread > 0
        r2 = 1 - error[varies] / np.square(spread[varies])
        return {
            **means,
            "rmse": float(np.mean(np.sqrt(error) * scale)),
            "mae": float(np.mean(absolute * scale)),
            "r2": float(np.mean(r2)) if varies.any() else np.nan,
        }

    counts = {"squared": squared, "absolute": absolute}
    return Task({}, "val/rmse", ("loss", "rmse", "mae", "r2"), counts, report)


def _language_modelling(data: Dataset) -> Task:
    """The loss is nats a token; bits a character compare across tokenisations."""

    def nats(outputs: Array, targets: Array, weights: Array) -> Array:
        return (cross_entropy(outputs, targets) * weights).sum()

    def report(split: str, means: dict[str, float], counts: Sums) -> dict[str, float]:
        a_token = float(counts["nats"]) / float(counts["count"])
        bits = a_token / float(np.log(2)) / data.characters_per_token(split)
        with np.errstate(over="ignore"):
            return {**means, "perplexity": float(np.exp(a_token)), "bits_per_character": bits}

    names = ("loss", "accuracy", "perplexity", "bits_per_character")
    return Task({"accuracy": token_accuracy}, "val/bits_per_character", names, {"nats": nats}, report)


def accuracy(outputs: Array, targets: Array) -> Array:
    """1 where the largest output is the target's, else 0; (B, K) and (B,) give (B,)."""
    return (jnp.argmax(outputs, axis=-1) == targets).astype(jnp.float32)


def top5(outputs: Array, targets: Array) -> Array:
    """1 where fewer than five outputs are larger than the target's, else 0."""
    true = jnp.take_along_axis(outputs, targets[:, None], axis=1)
    return ((outputs > true).sum(1) < 5).astype(jnp.float32)


def label_accuracy(outputs: Array, targets: Array) -> Array:
    """Share of an example's labels that the outputs' signs tell; (B, K) and (B, K) give (B,)."""
    return ((outputs > 0) == targets).mean(1, dtype=jnp.float32)


def token_accuracy(outputs: Array, targets: Array) -> Array:
    """Share of a sequence's tokens whose output is the largest; (B, T, K) and (B, T) give (B,)."""
    return accuracy(outputs, targets).mean(1)


def per_class(confusion: Any) -> dict[str, list[float]]:
    """Precision, recall, F1 and support of each class from counts (true class, predicted class); 0 for 0 / 0."""
    confusion = np.asarray(confusion, np.float64)
    right, found, there = np.diag(confusion), confusion.sum(0), confusion.sum(1)
    return {
        "precision": (right / np.maximum(found, 1)).tolist(),
        "recall": (right / np.maximum(there, 1)).tolist(),
        "f1": (2 * right / np.maximum(found + there, 1)).tolist(),
        "support": there.astype(int).tolist(),
    }
