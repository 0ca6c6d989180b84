"""From a plan to something that can be trained: data, program, devices. Finds what does not fit, before it is made."""

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
from dlrun.data.checks import checked
from dlrun.data.dataset import Dataset, cut
from dlrun.data.fingerprint import changes
from dlrun.errors import InvalidConfig, Unfit, show
from dlrun.objective import losses
from dlrun.objective.metrics import task
from dlrun.optim import schedules
from dlrun.program import precision, step
from dlrun.program.devices import mesh
from dlrun.program.misfits import _device_warnings, _misfits, _statistics_misfits, _warnings, reported
from dlrun.program.program import Program
from dlrun.program.state import TrainState
from dlrun.program.teacher import _taught


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
    program: Program
    graphdef: nnx.GraphDef
    shapes: TrainState
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


def prepare(plan: Plan, loaded: dict[Any, Dataset] | None = None, found: Iterable[str] = ()) -> Setup:
    """Loads the data and traces the model. Raises :class:`InvalidConfig` with what does not fit.

    Args:
      loaded: data of other plans, which is used again for the same choice; what is loaded is added.
      found: problems found before, to be reported with the others.
    """
    settings, choices, found = plan.settings, plan.choices, list(found)
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
    program = Program(
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


def alike(setup: Setup, plan: Plan, found: Iterable[str] = ()) -> Setup:
    """The setup of a plan that differs from another's in numbers, seed, length and records alone; checked likewise."""
    names = [f"val/{k}" for k in setup.program.task.names]
    found = [*found, *_misfits(plan, setup.data, setup.mesh.size, names)]
    if found:
        raise InvalidConfig(found)
    return replace(setup, plan=plan)
