"""What names of metrics and keys mean: which values are better when smaller, which keys only say how a run is made."""

from typing import Literal

SMALLER_IS_BETTER = (
    "loss", "rmse", "mae", "perplexity", "bits_per_character", "error", "time", "seconds", "parameters",
)  # fmt: skip
"""How the names of metrics end of which the smaller value is better; of all others it is the larger one."""
SEEDS = ("seed", ".seed")
"""How keys end that tell which of many random runs one is."""
SPLITS = ("val", "test", "train")
ROW_KEYS = ("step", "epoch", "split", "time")
"""Keys of a row of metrics.jsonl that are no metric."""
HOW_IT_RAN = (
    "log.", "compile_cache", "devices", "distributed.", "stream.", "eval.batch_size", "checkpoint.every",
    "checkpoint.keep", "data.folder", "data.download",
)  # fmt: skip
"""Keys, and sections with a dot, that say how a run is made and don't change its results but for rounding."""


def how_it_ran(key: str) -> bool:
    """Whether a key of the configuration only says how a run is made."""
    return key in HOW_IT_RAN or key.startswith(tuple(k for k in HOW_IT_RAN if k.endswith(".")))


def better(metric: str) -> Literal["min", "max"]:
    """Whether a metric is better when smaller or larger, by its name."""
    return "min" if metric.endswith(SMALLER_IS_BETTER) else "max"
