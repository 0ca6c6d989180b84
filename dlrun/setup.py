"""From a plan to something that can be trained: data, program, devices. Finds what does not fit, before it is made."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jax.tree_util import keystr, tree_leaves_with_path

from dlrun import catalogue, losses, precision, schedules, sinks, step, trained
from dlrun.data.checks import checked
from dlrun.data.dataset import Dataset, cut
from dlrun.data.fingerprint import changes
from dlrun.devices import mesh
from dlrun.metrics import task
from dlrun.nn.dropout import Number
from dlrun.nn.inits import SATURATING
from dlrun.nn.parts import Inputs
from dlrun.plan import Plan
from dlrun.schema import InvalidConfig, Unfit, nearest, show
from dlrun.trained import Trained

UNSTABLE_BELOW = 8  # batch normalisation's statistics are too noisy for smaller batches
DEEP = 5  # layers, beyond which activations that saturate are warned of


@dataclass(frozen=True)
class Setup:
    """A plan with its data, program and devices.

    Args:
      data: with all three splits.
      graphdef: the model's structure.
      shapes: the training state's shapes and dtypes.
      warnings: what a person should know before the run starts.
      constants: arrays that every step reads beside its batch: those of a teacher.
      teacher: what tells that one's weights from any others.
    """

    plan: Plan
    data: Dataset
    program: step.Program
    graphdef: nnx.GraphDef
    shapes: step.TrainState
    mesh: jax.sharding.Mesh
    warnings: list[str]
    constants: dict[str, Any]
    teacher: dict[str, Any] | None = None

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks; others only compute."""
        return jax.process_index() == 0

    @property
    def numbers(self) -> dict[str, np.float32]:
        return numbers(self.plan, self.data)

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.plan, self.data)

    @property
    def total_steps(self) -> int:
        return total_steps(self.plan, self.data)

    @property
    def metric(self) -> str:
        """The metric that chooses the best state, such as ``val/accuracy``."""
        return self.plan.settings.checkpoint.metric or self.program.task.main

    @property
    def mode(self) -> str:
        return self.plan.settings.checkpoint.mode or self.program.task.mode(self.metric)

    @cached_property
    def parameters(self) -> int:
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.shapes.params))

    def examples(self, size: int) -> jax.ShapeDtypeStruct:
        return examples(self.data, size)

    def targets(self, size: int) -> jax.ShapeDtypeStruct:
        return targets(self.data, size)

    @property
    def matmul_precision(self) -> str:
        """What products of float32 are computed in on the run's devices."""
        cpu = self.mesh.devices.flat[0].platform == "cpu"
        return "float32" if cpu else self.plan.settings.matmul_precision

    @property
    def compiler_options(self) -> dict[str, bool]:
        """What the compiler is told, of each program of the run."""
        return {"xla_gpu_deterministic_ops": True} if self.plan.settings.deterministic else {}

    @property
    def everywhere(self) -> NamedSharding:
        """Every device holds the whole array."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def divided(self) -> NamedSharding:
        """Batches (steps, batch size): every device holds its share of each batch."""
        return NamedSharding(self.mesh, PartitionSpec(None, "batch"))


def examples(data: Dataset, size: int) -> jax.ShapeDtypeStruct:
    """Form of the inputs of ``size`` examples."""
    dtype = jnp.int32 if data.kind == "tokens" else jnp.float32
    return jax.ShapeDtypeStruct((size, *data.inputs.shape), dtype)


def targets(data: Dataset, size: int) -> jax.ShapeDtypeStruct:
    """Form of the targets of ``size`` examples."""
    y = data.train.y
    if data.task == "regression":
        return jax.ShapeDtypeStruct((size, *y.shape[1:]), jnp.float32)
    return jax.ShapeDtypeStruct((size, *y.shape[1:]), jnp.int32 if np.issubdtype(y.dtype, np.integer) else y.dtype)


@contextlib.contextmanager
def reported(found: list[str], group: str, *, fatal: bool = False) -> Iterator[None]:
    """Adds the misfits that a component of ``group`` raises to ``found``; raises them all where one is ``fatal``."""
    before = len(found)
    try:
        yield
    except* Unfit as misfits:
        found += [error.at(group) for error in _each(misfits)]
    if fatal and len(found) > before:
        raise InvalidConfig(found)


def _each(misfits: BaseExceptionGroup[Unfit]) -> Iterator[Unfit]:
    for error in misfits.exceptions:
        yield from _each(error) if isinstance(error, BaseExceptionGroup) else [error]


def steps_per_epoch(plan: Plan, data: Dataset) -> int:
    return len(data.train) // plan.settings.batch_size


def total_steps(plan: Plan, data: Dataset) -> int:
    return plan.settings.steps or (plan.settings.epochs or 0) * steps_per_epoch(plan, data)


def numbers(plan: Plan, data: Dataset) -> dict[str, np.float32]:
    """The run's hyperparameters, as the state carries them."""
    limit = plan.settings.max_skipped if plan.settings.on_nonfinite == "skip" else 0
    given = {**plan.numbers, "total_steps": total_steps(plan, data), "max_skipped": limit}
    if plan.choices["schedule"].component is schedules.plateau:
        given["lr_scale"] = 1.0  # lowered after evaluations
    return {k: np.float32(v) for k, v in given.items()}


def prepare(plan: Plan, loaded: dict[Any, Dataset] | None = None) -> Setup:
    """Loads the data and traces the model. Raises :class:`InvalidConfig` with what does not fit.

    Args:
      loaded: data of other plans, which is used again for the same choice; what is loaded is added.
    """
    settings, choices = plan.settings, plan.choices
    found = sinks.missing(list(settings.log.sinks))
    with reported(found, "data", fatal=True):
        known_by = settings.stream.fingerprint
        which, loaded = (choices["data"], settings.split, known_by), {} if loaded is None else loaded
        if which not in loaded:
            source = choices["data"]()
            if not isinstance(source, Dataset):
                name = plan.values["data"]["name"]
                raise Unfit("name", name, f"give a dlrun.data.dataset.Dataset, not {source!r:.40}")
            loaded[which] = checked(cut(source, settings.split, known_by))
        data = loaded[which]
    devices = jax.devices()
    if settings.devices is not None and settings.devices > len(devices):
        found.append(f"devices={settings.devices}: not allowed; allowed: at most {len(devices)}, the devices there are")
    devices = devices[: settings.devices]
    asked = task(data)
    program = step.Program(
        **{group: c for group, c in choices.items() if group not in ("data", "launcher")},  # pyright: ignore[reportArgumentType]
        inputs=data.inputs,
        outputs=data.outputs,
        task=asked,
        dtype=jnp.dtype(settings.precision),
        matmul_precision=settings.matmul_precision,
        accumulate=settings.accumulate,
    )
    found += _misfits(plan, data, len(devices), [f"val/{k}" for k in asked.names])
    size = max(settings.batch_size, 2)
    batch = {"x": examples(data, size), "y": targets(data, size)}
    with reported(found, "augment"):
        jax.eval_shape(program.augment, jax.random.key(0), batch)
    with reported(found, "model", fatal=True):
        graphdef, shapes = jax.eval_shape(partial(step.init, program), np.uint32(0), numbers(plan, data))
        forward = jax.make_jaxpr(partial(step.forward, program, graphdef, train=True), return_shape=True)
        jaxpr, (outputs, _) = forward(shapes.params, shapes.variables, batch["x"])
        convolves = "conv_general_dilated" in str(jaxpr)
    constants, teacher, others = {}, None, []
    with reported(found, "loss"):
        if choices["loss"].component is losses.distillation:
            program, constants, taught = _taught(program, plan, data)
            teacher = taught.identity
            others = changes(taught.data, {"fingerprint": data.fingerprint})
            batch["teacher"] = outputs
        jax.eval_shape(partial(step.losses, program, train=True), outputs, batch, numbers(plan, data))
    found += _statistics_misfits(plan, shapes)
    if found:
        raise InvalidConfig(found)
    program = replace(program, loop=not (convolves and devices[0].platform == "cpu"))
    warnings = [*data.warnings, *_warnings(plan, data, shapes), *_device_warnings(plan, devices)]
    if others:
        where = f"loss.teacher={show(plan.values['loss']['teacher'])}"
        warnings.append(f"{where} learnt from other rows, perhaps test rows of this run: there {'; '.join(others)}")
    warnings += precision.misses(jaxpr.jaxpr, program.dtype)
    return Setup(plan, data, program, graphdef, shapes, mesh(devices), warnings, constants, teacher)


def alike(setup: Setup, plan: Plan) -> Setup:
    """The setup of a plan that differs from another's in numbers, seed, length and records alone; checked likewise."""
    found = sinks.missing(list(plan.settings.log.sinks))
    names = [f"val/{k}" for k in setup.program.task.names]
    found += _misfits(plan, setup.data, setup.mesh.size, names)
    if found:
        raise InvalidConfig(found)
    return replace(setup, plan=plan)


def _taught(program: step.Program, plan: Plan, data: Dataset) -> tuple[step.Program, dict[str, Any], Trained]:
    """The program with the teacher that its loss compares with, that one's arrays, and the teacher."""
    where = plan.values["loss"]["teacher"]
    if where is None:
        raise Unfit("teacher", None, "be the directory of a run to learn from")
    if data.task not in ("classification", "language_modelling"):
        raise Unfit(".loss", "distillation", "be another loss: it compares classes, and there are none")
    try:
        teacher = trained.load(Path(os.path.expanduser(where)), plan.trust)
    except InvalidConfig as error:
        raise Unfit("teacher", where, f"hold a model that can be rebuilt; {'; '.join(error.problems)}") from None
    mine, its = (
        Inputs(d["kind"], tuple(d["shape"]), d.get("vocabulary", 0)) for d in (data.preprocessing(), teacher.data)
    )
    if mine != its or list(data.classes) != teacher.data["classes"]:
        raise Unfit(
            "teacher",
            where,
            f"be a run on the same data: it takes {its} and knows {len(teacher.data['classes'])} classes",
        )
    mine, its = json.loads(json.dumps(data.preprocessing())), teacher.data
    for key in ("encoder", "tokeniser"):
        if mine.get(key) != its.get(key):
            raise Unfit("teacher", where, f"be a run on the same data, cut alike: its {key} is another, says data.json")
    arrays: dict[str, Any] = {"params": teacher.params, "variables": teacher.variables}
    if "input_mean" in mine:
        arrays["inputs"] = restandardised(mine, its)
    return replace(program, teacher=teacher.outputs), {"teacher": arrays}, teacher


def restandardised(mine: dict[str, Any], its: dict[str, Any]) -> dict[str, np.ndarray]:
    """``scale`` and ``shift`` that turn inputs standardised by the moments of one data.json into those of another."""
    (mean, std), (its_mean, its_std) = (
        (np.asarray(d["input_mean"], np.float64), np.asarray(d["input_std"], np.float64)) for d in (mine, its)
    )
    found = {"scale": std / its_std, "shift": (mean - its_mean) / its_std}
    return {name: value.astype(np.float32) for name, value in found.items()}


def _misfits(plan: Plan, data: Dataset, devices: int, metrics: list[str]) -> list[str]:
    settings, found = plan.settings, []
    size, rows, parts = settings.batch_size, len(data.train), settings.accumulate
    if size > rows:
        found.append(f"batch_size={size}: not allowed; allowed: at most {rows}, the rows for training")
    if size % parts:
        found.append(f"accumulate={parts}: not allowed; allowed: a divisor of batch_size={size}")
    elif (size // parts) % devices:
        found.append(f"batch_size={size}: not allowed; allowed: a multiple of {devices} devices x {parts} parts")
    metric = settings.checkpoint.metric
    if metric is not None and metric not in metrics:
        near = nearest(metric, metrics)
        found.append(f"checkpoint.metric={metric}: not allowed{near}; allowed: {', '.join(metrics)}")
    return found


def _statistics_misfits(plan: Plan, shapes: step.TrainState) -> list[str]:
    settings, others = plan.settings, " or ".join(_without_batch())
    if settings.batch_size // settings.accumulate > 1 or not _batch_statistics(shapes):
        return []
    parts = "" if settings.accumulate == 1 else f" in {settings.accumulate} parts"
    return [
        f"batch_size={settings.batch_size}: not allowed{parts} with batch normalisation, "
        f"whose statistics need 2 examples and more; allowed: larger, or {others}"
    ]


def _warnings(plan: Plan, data: Dataset, shapes: step.TrainState) -> list[str]:
    settings, found = plan.settings, []
    size, others = settings.batch_size // settings.accumulate, " or ".join(_without_batch())
    if size < UNSTABLE_BELOW and _batch_statistics(shapes):
        found.append(f"batch normalisation is unstable at batch size {size} (below {UNSTABLE_BELOW}); {others} is not")
    act = plan.choices["act"].name
    kernels = [keystr(path) for path, leaf in tree_leaves_with_path(shapes.params) if leaf.ndim > 1]
    # Recurrent networks are where these activations belong: gates of an LSTM, a state that must stay small.
    if act in SATURATING and len(kernels) > DEEP and not any("recurrent" in path for path in kernels):
        others = "relu and leaky_relu are for plain networks, gelu for Transformers"
        found.append(f"act={act} saturates, and gradients may vanish through {len(kernels)} layers; {others}")
    if settings.dropout and not jax.tree.leaves(nnx.filter_state(shapes.variables, Number)):
        found.append(f"dropout={settings.dropout:g} does nothing: this model has no place for it")
    if settings.label_smoothing and data.task == "regression":
        found.append(f"label_smoothing={settings.label_smoothing:g} does nothing: there are no classes")
    return found


def _device_warnings(plan: Plan, devices: list[Any]) -> list[str]:
    settings, platform, found = plan.settings, devices[0].platform, []
    if settings.matmul_precision != "float32" and (platform == "cpu" or settings.precision != "float32"):
        where = "on a CPU" if platform == "cpu" else f"with precision={settings.precision}"
        found.append(f"matmul_precision={settings.matmul_precision} does nothing {where}")
    if settings.deterministic and platform != "cpu" and len(devices) > 1:
        found.append(
            f"deterministic=true: sums over {len(devices)} devices repeat to the bit only where the same devices are "
            "connected in the same way"
        )
    return found


def _without_batch() -> list[str]:
    """The normalisations to name where batch normalisation does not work."""
    return [f"norm={n}" for n in ("layer", "group") if n in catalogue.options("norm", [catalogue.conf()])]


def _batch_statistics(shapes: step.TrainState) -> bool:
    return bool(jax.tree.leaves(nnx.filter_state(shapes.variables, nnx.BatchStat)))
