"""A component, such as an activation, with the values that are compiled into the program."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A component with values for its keyword arguments: a partial application.

    It is hashable and equal to another of the same values, as ``functools.partial`` is not: JAX caches compiled
    functions by such keys, and would compile again for every run of a sweep.
    """

    component: Callable[..., Any]
    values: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *args: Any, **numbers: Any) -> Any:
        return self.component(*args, **{**dict(self.values), **numbers})

    @property
    def name(self) -> str:
        return self.component.__name__
