"""Checks whether data, batch size, model and devices fit each other: errors that stop a run, and warnings."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.tree_util import keystr, tree_leaves_with_path

from dlrun.config import catalogue
from dlrun.config.plan import Plan
from dlrun.data.dataset import Dataset
from dlrun.errors import InvalidConfig, Unfit, nearest
from dlrun.nn import inits
from dlrun.nn.declared import declared
from dlrun.nn.hyperparameter import Hyperparameter
from dlrun.program.state import TrainState

UNSTABLE_BELOW = 8  # examples; in smaller batches the statistics of batch normalisation are too noisy
UNEVEN = 10  # times as many rows in the largest class as in the rarest
DEEP = 5  # layers; a deeper model gets a warning if its activation saturates


@contextlib.contextmanager
def reported(problems: list[str], group: str, *, fatal: bool = False) -> Iterator[None]:
    """Adds each :class:`Unfit` that a component of ``group`` raises to ``problems``; if ``fatal``, then raises them."""
    before = len(problems)
    try:
        yield
    except* Unfit as misfits:
        problems += [error.at(group) for error in _each(misfits)]
    if fatal and len(problems) > before:
        raise InvalidConfig(problems)


def _each(misfits: BaseExceptionGroup[Unfit]) -> Iterator[Unfit]:
    for error in misfits.exceptions:
        yield from _each(error) if isinstance(error, BaseExceptionGroup) else [error]


def settings_misfits(plan: Plan, data: Dataset, devices: int, metrics: list[str]) -> list[str]:
    """Errors in the batch size and in the metric that chooses the best state, a line each.

    Args:
      devices: how many a batch is divided among.
      metrics: the names that ``checkpoint.metric`` can have.
    """
    settings, problems = plan.settings, []
    size, rows, parts = settings.batch_size, len(data.train), settings.accumulate
    if size > rows:
        problems.append(f"batch_size={size}: not allowed; allowed: at most {rows}, the rows for training")
    if size % parts:
        problems.append(f"accumulate={parts}: not allowed; allowed: a divisor of batch_size={size}")
    elif (size // parts) % devices:
        problems.append(f"batch_size={size}: not allowed; allowed: a multiple of {devices} devices x {parts} parts")
    metric = settings.checkpoint.metric
    if metric is not None and metric not in metrics:
        near = nearest(metric, metrics)
        problems.append(f"checkpoint.metric={metric}: not allowed{near}; allowed: {', '.join(metrics)}")
    return problems


def batch_norm_misfits(plan: Plan, shapes: TrainState) -> list[str]:
    """An error line, if batch normalisation would get a single example at a time."""
    settings, others = plan.settings, " or ".join(_without_batch())
    if settings.batch_size // settings.accumulate > 1 or not _batch_statistics(shapes):
        return []
    parts = "" if settings.accumulate == 1 else f" in {settings.accumulate} parts"
    return [
        f"batch_size={settings.batch_size}: not allowed{parts} with batch normalisation, "
        f"whose statistics need at least 2 examples; allowed: larger, or {others}"
    ]


def model_warnings(plan: Plan, data: Dataset, shapes: TrainState) -> list[str]:
    """Warnings of choices that train badly with this model, or have no effect on it, a line each."""
    settings, warnings = plan.settings, []
    size, others = settings.batch_size // settings.accumulate, " or ".join(_without_batch())
    if size < UNSTABLE_BELOW and _batch_statistics(shapes):
        warnings.append(
            f"batch normalisation is unstable at batch size {size} (below {UNSTABLE_BELOW}); {others} is not"
        )
    act, of_act = plan.choices["act"].name, declared(plan.choices["act"])
    kernels = [keystr(path) for path, leaf in tree_leaves_with_path(shapes.params) if leaf.ndim > 1]
    # Recurrent networks need these activations: for the gates of an LSTM, for a state that must stay small.
    if of_act.saturates and len(kernels) > DEEP and not any("recurrent" in path for path in kernels):
        others = "relu and leaky_relu are for plain networks, gelu for Transformers"
        warnings.append(f"act={act} saturates, and gradients may vanish through {len(kernels)} layers; {others}")
    if of_act.init is None and plan.choices["init"].component is inits.auto:
        how = "@activation(init=...) of dlrun.parts declares another"
        warnings.append(f"act={act} declares no initialiser, so init=auto takes lecun_normal; {how}")
    if settings.dropout and not jax.tree.leaves(nnx.filter_state(shapes.variables, Hyperparameter)):
        warnings.append(f"dropout={settings.dropout:g} does nothing: this model has no place for it")
    if settings.label_smoothing and data.task == "regression":
        warnings.append(f"label_smoothing={settings.label_smoothing:g} does nothing: there are no classes")
    return warnings


def uneven_classes(plan: Plan, data: Dataset) -> list[str]:
    """A warning where one class is so rare that the accuracy, which chooses the best state, says little of it."""
    if data.task != "classification" or plan.settings.checkpoint.metric not in (None, "val/accuracy"):
        return []
    counts = np.bincount(np.asarray(data.train.y), minlength=data.outputs)
    rows, rare, common = int(counts.sum()), int(counts.argmin()), int(counts.argmax())
    if counts[rare] * UNEVEN > counts[common]:
        return []
    return [
        f"class {data.classes[rare]} has {counts[rare]:,} of {rows:,} training rows: always answering "
        f"{data.classes[common]} gives an accuracy of {counts[common] / rows:.2f}; "
        "checkpoint.metric=val/macro_f1 weighs all classes equally"
    ]


def device_warnings(plan: Plan, devices: list[Any]) -> list[str]:
    """Warnings of settings that have no effect, or not all of it, on these devices, a line each."""
    settings, platform, warnings = plan.settings, devices[0].platform, []
    if settings.matmul_precision != "float32" and (platform == "cpu" or settings.precision != "float32"):
        where = "on a CPU" if platform == "cpu" else f"with precision={settings.precision}"
        warnings.append(f"matmul_precision={settings.matmul_precision} does nothing {where}")
    if settings.deterministic and platform != "cpu" and len(devices) > 1:
        warnings.append(
            f"deterministic=true: sums over {len(devices)} devices give the same bits only where the same devices are "
            "connected in the same way"
        )
    return warnings


def _without_batch() -> list[str]:
    """The norms to suggest instead of batch normalisation."""
    return [f"norm={n}" for n in ("layer", "group") if n in catalogue.options("norm", [catalogue.conf()])]


def _batch_statistics(shapes: TrainState) -> bool:
    return bool(jax.tree.leaves(nnx.filter_state(shapes.variables, nnx.BatchStat)))
