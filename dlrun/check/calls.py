"""Records the calls of the modules of a model: the inputs and the output of each.

Flax has no hook for this: ``nnx.capture`` keeps outputs without their order and without inputs, and it patches classes
while it runs. Here classes stay as they are. During the call, each module of the one model becomes an instance of a
subclass that records.
"""

from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from types import new_class
from typing import Any, NamedTuple

from flax import nnx
from jax import Array

from dlrun.program.nonfinite import dotted


class Call(NamedTuple):
    """A call of a module.

    Args:
      path: where the module is in the model, such as ``hidden.0.linear``.
      module: the module itself.
      inputs: its positional and keyword arguments.
      output: what it returned.
    """

    path: str
    module: nnx.Module
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    output: Any


def calls(model: nnx.Module, x: Array) -> list[Call]:
    """Calls ``model`` on ``x`` and returns the calls of all modules below it, in the order in which they end."""
    modules = {id(module): (path, module) for path, module in nnx.iter_modules(model) if path and callable(module)}
    recorded: list[Call] = []

    def record(module: nnx.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if id(module) in modules:  # a Flax transform such as ``nnx.scan`` calls copies, which are not recorded
            recorded.append(Call(dotted(modules[id(module)][0]), module, (args, kwargs), output))

    classes = [(module, type(module)) for _, module in modules.values()]
    token = _RECORD.set(record)
    try:
        for module, kind in classes:
            object.__setattr__(module, "__class__", _recording(kind))  # bypasses Flax's bookkeeping
        model(x)  # pyright: ignore[reportCallIssue]
    finally:
        for module, kind in classes:
            object.__setattr__(module, "__class__", kind)
        _RECORD.reset(token)
    return recorded


_RECORD: ContextVar[Callable[..., None]] = ContextVar("record")
"""The function that a recording module calls after its own call."""


@cache  # JAX registers every class of modules for good, so there should be only one subclass of each
def _recording(kind: type[Any]) -> type[Any]:
    """A subclass of ``kind`` that records its calls."""

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = kind.__call__(self, *args, **kwargs)
        _RECORD.get()(self, args, kwargs, output)
        return output

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__call__": __call__}
    return new_class(kind.__name__, (kind,), exec_body=lambda body: body.update(names))
