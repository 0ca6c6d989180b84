"""The metrics of each kind of task, and the sums over examples that they are computed from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from dlrun.data.dataset import Dataset
from dlrun.objective.losses import cross_entropy

Sums = dict[str, Any]
"""Sums over the examples of a split, by name."""


@dataclass(frozen=True)
class Task:
    """The metrics of a kind of task; the loss is evaluated beside them.

    Args:
      metrics: by name, ``f(outputs, targets)`` gives the share of each example that is right, shape (B,). Their means
        over the examples are reported.
      main: the metric that chooses the best state by default, with its split: ``val/accuracy``.
      names: all that is reported of a split, the loss included.
      counts: by name, ``f(outputs, targets, weights)`` gives a sum over examples, of any shape; a weight is 1, or 0 for
        a row that is no example. Computed in evaluation only, which adds ``count``, the number of examples.
      report: ``f(split, means, counts)`` computes, on the host, what is reported of a split, from the means of the loss
        and of ``metrics`` and from the sums ``counts``.
      details: ``f(counts)`` computes results for each class, for summary.json.
    """

    metrics: dict[str, Callable[[Array, Array], Array]]
    main: str
    names: tuple[str, ...]
    counts: dict[str, Callable[[Array, Array, Array], Array]]
    report: Callable[[str, dict[str, float], Sums], dict[str, float]]
    details: Callable[[Sums], dict[str, Any]] = lambda counts: {}


UNMEASURED = Task({}, "val/loss", ("loss",), {}, lambda split, means, counts: means)
"""For a model that is not evaluated, only asked for outputs, such as a teacher."""


def task(data: Dataset) -> Task:
    """The task that a data set poses."""
    return {
        "classification": _classification,
        "multilabel": _multilabel,
        "regression": _regression,
        "language_modelling": _language_modelling,
    }[data.task](data)


TOP5_FROM = 20  # classes; with fewer, it says little that the right one is among five


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
        "true_positives": counted(lambda positive, true: positive & true),
        "predicted": counted(lambda positive, true: positive),
        "support": counted(lambda positive, true: true),
    }

    def f1(counts: Sums) -> np.ndarray:
        return 2 * counts["true_positives"] / np.maximum(counts["predicted"] + counts["support"], 1)

    def report(split: str, means: dict[str, float], counts: Sums) -> dict[str, float]:
        return {**means, "macro_f1": float(np.mean(f1(counts)))}

    def details(counts: Sums) -> dict[str, Any]:
        support = np.asarray(counts["support"]).astype(int).tolist()
        each = {"f1": f1(counts).tolist(), "support": support}
        return {"per_class": {k: dict(zip(data.classes, v, strict=True)) for k, v in each.items()}}

    names = ("loss", "accuracy", "macro_f1")
    return Task({"accuracy": label_accuracy}, "val/macro_f1", names, counts, report, details)


def _regression(data: Dataset) -> Task:
    """Outputs and targets are in standard deviations of the training targets; errors are reported in their own unit."""
    scale = data.target_scale

    def squared(outputs: Array, targets: Array, weights: Array) -> Array:
        return (weights[:, None] * jnp.square(outputs - targets)).sum(0)

    def absolute(outputs: Array, targets: Array, weights: Array) -> Array:
        return (weights[:, None] * jnp.abs(outputs - targets)).sum(0)

    def report(split: str, means: dict[str, float], counts: Sums) -> dict[str, float]:
        # The split's standard deviation comes from its raw targets: from sums in float32 it would be inexact.
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
    """The loss is in nats per token; bits per character can be compared between tokenisations."""

    def nats(outputs: Array, targets: Array, weights: Array) -> Array:
        return (cross_entropy(outputs, targets) * weights).sum()

    def report(split: str, means: dict[str, float], counts: Sums) -> dict[str, float]:
        nats_per_token = float(counts["nats"]) / float(counts["count"])
        bits = nats_per_token / float(np.log(2)) / data.characters_per_token(split)
        with np.errstate(over="ignore"):
            return {**means, "perplexity": float(np.exp(nats_per_token)), "bits_per_character": bits}

    names = ("loss", "accuracy", "perplexity", "bits_per_character")
    return Task({"accuracy": token_accuracy}, "val/bits_per_character", names, {"nats": nats}, report)


def accuracy(outputs: Array, targets: Array) -> Array:
    """1 where the target's output is the largest, else 0; (B, K) and (B,) give (B,)."""
    return (jnp.argmax(outputs, axis=-1) == targets).astype(jnp.float32)


def top5(outputs: Array, targets: Array) -> Array:
    """1 where fewer than five outputs are larger than the target's, else 0; (B, K) and (B,) give (B,)."""
    true = jnp.take_along_axis(outputs, targets[:, None], axis=1)
    return ((outputs > true).sum(1) < 5).astype(jnp.float32)


def label_accuracy(outputs: Array, targets: Array) -> Array:
    """Share of an example's labels that are predicted right, as true where the output is above 0; gives (B,)."""
    return ((outputs > 0) == targets).mean(1, dtype=jnp.float32)


def token_accuracy(outputs: Array, targets: Array) -> Array:
    """Share of positions where the target's output is the largest; (B, T, K) and (B, T) give (B,)."""
    return accuracy(outputs, targets).mean(1)


def per_class(confusion: Any) -> dict[str, list[float]]:
    """Precision, recall, F1 and support of each class from a confusion matrix (true, predicted class); 0 for 0 / 0."""
    confusion = np.asarray(confusion, np.float64)
    right, predicted, support = np.diag(confusion), confusion.sum(0), confusion.sum(1)
    return {
        "precision": (right / np.maximum(predicted, 1)).tolist(),
        "recall": (right / np.maximum(support, 1)).tolist(),
        "f1": (2 * right / np.maximum(predicted + support, 1)).tolist(),
        "support": support.astype(int).tolist(),
    }
