"""A component with its values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A component with its values: a hashable stand-in for a partial application, for a compiled function's key."""

    component: Callable[..., Any]
    values: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *args: Any, **numbers: Any) -> Any:
        return self.component(*args, **{**dict(self.values), **numbers})

    @property
    def name(self) -> str:
        return self.component.__name__
