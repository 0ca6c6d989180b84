"""What can be told from names: whether a metric is better when smaller, and which keys can't change results."""

from typing import Literal

SMALLER_IS_BETTER = (
    "loss", "rmse", "mae", "perplexity", "bits_per_character", "error", "time", "seconds", "parameters",
)  # fmt: skip
"""Metrics whose names end like this are better when smaller; all others when larger."""
SEEDS = ("seed", ".seed")
"""Keys of the configuration that end like this choose the random numbers of a run."""
SPLITS = ("val", "test", "train")
ROW_KEYS = ("step", "epoch", "split", "time")
"""Keys of a row of metrics.jsonl that are no metric."""
HOW_IT_RAN = (
    "log.", "compile_cache", "devices", "distributed.", "stream.", "eval.batch_size", "checkpoint.every",
    "checkpoint.keep", "data.folder", "data.download", "data.timeout", "data.min_rate",
)  # fmt: skip
"""Keys, and sections (with a dot at the end), that only say how a run is executed: results change by rounding at most.
"""


def how_it_ran(key: str) -> bool:
    """Whether a key of the configuration only says how a run is executed."""
    return key in HOW_IT_RAN or key.startswith(tuple(k for k in HOW_IT_RAN if k.endswith(".")))


def better(metric: str) -> Literal["min", "max"]:
    """``min`` if smaller values of a metric are better, ``max`` if larger ones are, judged by its name."""
    return "min" if metric.endswith(SMALLER_IS_BETTER) else "max"
