"""What the runner hands to a model: the form of its inputs, and the parts that the user chose."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from flax import nnx
from jax import Array
from jax.nn.initializers import Initializer

from dlrun.nn.dropout import Dropout, Number
from dlrun.nn.norms import Identity


@dataclass(frozen=True)
class Inputs:
    """The form of one example: ``image`` (height, width, channels) or ``rows`` (features,)."""

    kind: Literal["image", "rows"]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Parts:
    """The parts a model is made of.

    Args:
      act: elementwise activation.
      norm: ``norm(features, rngs)`` makes a normalisation of the last axis.
      kernel_init: for the kernels of layers that ``act`` follows.
      linear_init: for the kernels of layers that nothing follows: outputs, attention projections.
      rate: dropout rate, or None for no dropout.
    """

    act: Callable[[Array], Array]
    norm: Callable[[int, nnx.Rngs], Callable[[Array], Array]]
    kernel_init: Initializer
    linear_init: Initializer
    rate: Number | None = None

    def dropout(self, rngs: nnx.Rngs) -> Callable[[Array], Array]:
        """A dropout layer, to be placed after the norm and activation."""
        return Identity() if self.rate is None else Dropout(self.rate, rngs)


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
