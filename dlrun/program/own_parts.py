"""Tries parts of the user's own before a run starts, and says which of them failed, on what, and where in its file."""

import contextlib
import inspect
import traceback
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dlrun.config.plan import Plan
from dlrun.errors import InvalidConfig, Unfit
from dlrun.program.program import Program, section

NOUNS = {"act": "activation", "init": "initialiser", "optim": "optimizer", "data": "data source"}


@contextlib.contextmanager
def blamed(plan: Plan, on: str) -> Iterator[None]:
    """Turns an error that passed through a file of the user's own part into an :class:`InvalidConfig` that names it.

    Args:
      on: what a model or augmentation was given, such as ``inputs (8, 8, 1)``.
    """
    try:
        yield
    except (Unfit, InvalidConfig, BaseExceptionGroup):
        raise
    except Exception as error:
        files = {file: group for group in reversed(plan.choices) if (file := _file(plan, group)) is not None}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
        if not frames:
            raise
        group, where = files[frames[0].filename], frames[-1]
        what = f" on {on}" if group in ("model", "augment") else ""
        said = next(iter(str(error).splitlines()), "")  # JAX goes on for a page
        why = f"{type(error).__name__}: {said}".rstrip(":. ")
        failed = f"your {NOUNS.get(group, group)} failed{what}: {why} (line {where.lineno} of {where.filename})"
        raise InvalidConfig([f"{_named(plan, group)}: {failed}; --debug shows more"]) from error


def check_outputs(plan: Plan, inputs: tuple[int, ...], found: tuple[int, ...], outputs: int, causal: bool) -> None:
    """Raises :class:`InvalidConfig` unless a model gave outputs of the shape that the data asks for.

    Args:
      inputs: the shape of a batch of inputs (B, ...).
      found: the shape of what the model gave for it.
      outputs: how many there should be for each example, or with ``causal`` for each of its tokens.
    """
    wanted = (*inputs[: 1 + causal], outputs)
    if found != wanted:
        gives = f"must give {_shape(wanted)} for inputs {_shape(inputs)}, B examples; it gives {_shape(found)}"
        raise InvalidConfig([f"{_named(plan, 'model')}: {gives}"])


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['B', *map(str, shape[1:])])})"


def try_optimizer(plan: Plan, program: Program, params: nnx.State, numbers: dict[str, Any]) -> None:
    """Traces a step of the schedule and of the optimizer where they are the user's own.

    Nothing else asks for them before the run trains, when its directory is there already.
    """

    def rate(step: Any, numbers: dict[str, Any]) -> Any:
        return program.schedule(step, numbers["total_steps"], numbers["optim.lr"], **section(numbers, "schedule"))

    def update(params: Any, numbers: dict[str, Any]) -> Any:
        optimizer = program.optimizer(numbers, jnp.float32(0))
        return optimizer.update(params, optimizer.init(params), params)

    if _file(plan, "schedule") is not None:
        shape = jnp.shape(jax.eval_shape(rate, jnp.int32(0), numbers))
        if shape != ():
            raise InvalidConfig([f"{_named(plan, 'schedule')}: must give a number for a step; it gives shape {shape}"])
    if _file(plan, "optim") is not None:
        jax.eval_shape(update, params, numbers)


def _file(plan: Plan, group: str) -> str | None:
    """The file that has the component of a group; None for one of ours."""
    component = plan.choices[group].component
    if component.__module__.split(".")[0] == "dlrun":
        return None
    try:
        return inspect.getsourcefile(inspect.unwrap(component))
    except TypeError:  # an instance that can be called
        return inspect.getsourcefile(type(component))


def _named(plan: Plan, group: str) -> str:
    return f"{group}.name={plan.values.get(group, {}).get('name')}"
