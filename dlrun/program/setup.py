"""Prepares a plan for training: loads its data, traces its model, and reports what does not fit before a run starts."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from dlrun.config.plan import Plan
from dlrun.data import lazy
from dlrun.data.checks import checked
from dlrun.data.dataset import Dataset, cut
from dlrun.data.fingerprint import changes
from dlrun.errors import InvalidConfig, Unfit, show
from dlrun.objective import losses
from dlrun.objective.metrics import task
from dlrun.optim import schedules
from dlrun.program import precision, step
from dlrun.program.devices import mesh
from dlrun.program.misfits import (
    batch_norm_misfits,
    device_warnings,
    model_warnings,
    reported,
    settings_misfits,
    uneven_classes,
)
from dlrun.program.own_parts import blamed, check_outputs, try_optimizer
from dlrun.program.program import Program
from dlrun.program.state import TrainState
from dlrun.program.teacher import with_teacher
from dlrun.runs.metric_names import better


@dataclass(frozen=True)
class Setup:
    """All that is prepared before a run: its plan, data, program and devices.

    Args:
      data: the data set, with all three splits.
      graphdef: the model's structure.
      shapes: a training state with shapes and dtypes in place of arrays.
      mesh: the devices in a row.
      warnings: what a person should know before the run starts, a line each.
      constants: arrays that every step reads beside its batch: a teacher's, if there is one.
      teacher: identifies the teacher's weights; None without one.
    """

    plan: Plan
    data: Dataset
    program: Program
    graphdef: nnx.GraphDef
    shapes: TrainState
    mesh: jax.sharding.Mesh
    warnings: list[str]
    constants: dict[str, Any]
    teacher: dict[str, Any] | None = None

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes files and messages; the others only compute."""
        return jax.process_index() == 0

    @property
    def numbers(self) -> dict[str, np.float32]:
        """The run's numeric hyperparameters by path: :func:`numbers`."""
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
        return self.plan.settings.checkpoint.mode or better(self.metric)

    @cached_property
    def parameter_count(self) -> int:
        """How many numbers the model trains."""
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.shapes.params))

    def examples(self, size: int) -> jax.ShapeDtypeStruct:
        return examples(self.data, size)

    def targets(self, size: int) -> jax.ShapeDtypeStruct:
        return targets(self.data, size)

    @property
    def matmul_precision(self) -> str:
        """The precision in which the run's devices compute products of float32."""
        cpu = self.mesh.devices.flat[0].platform == "cpu"
        return "float32" if cpu else self.plan.settings.matmul_precision

    @property
    def compiler_options(self) -> dict[str, bool]:
        """Options for XLA, for all functions of the run."""
        return {"xla_gpu_deterministic_ops": True} if self.plan.settings.deterministic else {}

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of an array that every device holds as a whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch_sharding(self) -> NamedSharding:
        """The sharding of batches (steps, batch size): every device holds its share of the examples of each batch."""
        return NamedSharding(self.mesh, PartitionSpec(None, "batch"))


def examples(data: Dataset, size: int) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the inputs of ``size`` examples."""
    dtype = jnp.int32 if data.kind == "tokens" else jnp.float32
    return jax.ShapeDtypeStruct((size, *data.inputs.shape), dtype)


def targets(data: Dataset, size: int) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the targets of ``size`` examples."""
    y = data.train.y
    if data.task == "regression":
        return jax.ShapeDtypeStruct((size, *y.shape[1:]), jnp.float32)
    return jax.ShapeDtypeStruct((size, *y.shape[1:]), jnp.int32 if np.issubdtype(y.dtype, np.integer) else y.dtype)


def steps_per_epoch(plan: Plan, data: Dataset) -> int:
    return len(data.train) // plan.settings.batch_size


def total_steps(plan: Plan, data: Dataset) -> int:
    """Optimizer steps of the whole run."""
    return plan.settings.steps or (plan.settings.epochs or 0) * steps_per_epoch(plan, data)


def numbers(plan: Plan, data: Dataset) -> dict[str, np.float32]:
    """The run's numeric hyperparameters by path, as the training state holds them."""
    limit = plan.settings.max_skipped if plan.settings.on_nonfinite == "skip" else 0
    given = {**plan.numbers, "total_steps": total_steps(plan, data), "max_skipped": limit}
    if plan.choices["schedule"].component is schedules.plateau:
        given["lr_scale"] = 1.0  # the loop lowers it after evaluations
    return {k: np.float32(v) for k, v in given.items()}


def prepare(plan: Plan, loaded: dict[Any, Dataset] | None = None, problems: Iterable[str] = ()) -> Setup:
    """Loads the data and traces the model. Raises :class:`InvalidConfig` with what does not fit.

    Args:
      loaded: data sets of other plans, used again where the data is the same; newly loaded ones are added.
      problems: problems found before, to be reported with the others.
    """
    settings, choices, problems = plan.settings, plan.choices, list(problems)
    with reported(problems, "data", fatal=True):
        known_by = settings.stream.fingerprint
        which, loaded = (choices["data"], settings.split, known_by), {} if loaded is None else loaded
        if which not in loaded:
            with blamed(plan, ""), lazy.room(settings.stream.memory):
                source = choices["data"]()
            if not isinstance(source, Dataset):
                name = plan.values["data"]["name"]
                raise Unfit("name", name, f"give a dlrun.data.dataset.Dataset, not {source!r:.40}")
            loaded[which] = checked(cut(source, settings.split, known_by))
        data = loaded[which]
    devices = jax.devices()
    if settings.devices is not None and settings.devices > len(devices):
        allowed = f"at most {len(devices)}, the devices there are"
        problems.append(f"devices={settings.devices}: not allowed; allowed: {allowed}")
    devices = devices[: settings.devices]
    objective = task(data)
    program = Program.of(plan, data.inputs, data.outputs, objective)
    problems += settings_misfits(plan, data, len(devices), [f"val/{k}" for k in objective.names])
    size = max(settings.batch_size, 2)
    batch = {"x": examples(data, size), "y": targets(data, size)}
    on = f"inputs {data.inputs.shape}"
    with reported(problems, "augment"), blamed(plan, on):
        jax.eval_shape(program.augment, jax.random.key(0), batch)
    with reported(problems, "model", fatal=True), blamed(plan, on):
        graphdef, shapes = jax.eval_shape(partial(step.init, program), np.uint32(0), numbers(plan, data))
        forward = jax.make_jaxpr(partial(step.forward, program, graphdef, train=True), return_shape=True)
        jaxpr, (outputs, _) = forward(shapes.params, shapes.variables, batch["x"])
        convolves = "conv_general_dilated" in str(jaxpr)
        check_outputs(plan, batch["x"].shape, outputs.shape, data.outputs, data.inputs.causal)
        try_optimizer(plan, program, shapes.params, numbers(plan, data))
    constants, teacher, differences = {}, None, []
    with reported(problems, "loss"), blamed(plan, on):
        if choices["loss"].component is losses.distillation:
            program, constants, taught = with_teacher(program, plan, data)
            teacher = taught.identity
            differences = changes(taught.data, {"fingerprint": data.fingerprint})
            batch["teacher"] = outputs
        jax.eval_shape(partial(step.losses, program, train=True), outputs, batch, numbers(plan, data))
    problems += batch_norm_misfits(plan, shapes)
    if problems:
        raise InvalidConfig(problems)
    program = replace(program, loop=not (convolves and devices[0].platform == "cpu"))
    warnings = [
        *data.warnings,
        *uneven_classes(plan, data),
        *model_warnings(plan, data, shapes),
        *device_warnings(plan, devices),
    ]
    if differences:
        where = f"loss.teacher={show(plan.values['loss']['teacher'])}"
        there = "; ".join(differences)
        warnings.append(f"{where} learnt from other rows, perhaps test rows of this run: there {there}")
    warnings += precision.misses(jaxpr.jaxpr, program.dtype)
    return Setup(plan, data, program, graphdef, shapes, mesh(devices), warnings, constants, teacher)


def with_plan(setup: Setup, plan: Plan, problems: Iterable[str] = ()) -> Setup:
    """The setup of another plan that differs only in numbers, seed, length and records. Shares all but the plan.

    Args:
      problems: problems found before, to be reported with the others.

    Raises:
      InvalidConfig: where the plan does not fit the data or the devices.
    """
    names = [f"val/{k}" for k in setup.program.task.names]
    if problems := [*problems, *settings_misfits(plan, setup.data, setup.mesh.size, names)]:
        raise InvalidConfig(problems)
    return replace(setup, plan=plan)
