"""The calls of the modules of a model."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

from flax import nnx
from jax import Array

from dlrun.program.nonfinite import name


class Call(NamedTuple):
    """What a module was given, and gave."""

    path: str
    module: nnx.Module
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    output: Any


def calls(model: nnx.Module, x: Array) -> list[Call]:
    """The calls of all modules below ``model``, in the order in which they end."""
    paths = {id(module): name(path) for path, module in nnx.iter_modules(model) if path}
    seen: list[Call] = []

    def recording(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self, *args, **kwargs):
            output = original(self, *args, **kwargs)
            if id(self) in paths:
                seen.append(Call(paths[id(self)], self, (args, kwargs), output))
            return output

        return call

    with contextlib.ExitStack() as patches:
        for kind in {type(module) for _, module in nnx.iter_modules(model) if callable(module)}:
            patches.enter_context(mock.patch.object(kind, "__call__", recording(kind.__call__)))
        model(x)  # pyright: ignore[reportCallIssue]
    return seen
