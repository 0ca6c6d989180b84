"""What the runner hands to a model: the form of its inputs, and the parts that the user chose."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from flax import nnx
from jax import Array
from jax.nn.initializers import Initializer

from dlrun.config.choice import Choice
from dlrun.errors import Unfit
from dlrun.nn.activations import GATED
from dlrun.nn.dropout import Dropout, DropPath, SpatialDropout
from dlrun.nn.hyperparameter import Number
from dlrun.nn.norms import Identity


@dataclass(frozen=True)
class Inputs:
    """The form of one example, and of what is asked of a model.

    Args:
      kind: ``image`` (height, width, channels), ``rows`` (features,) or ``tokens`` (length,), numbers of tokens.
      shape: of an example.
      vocabulary: how many tokens there are.
      causal: whether there is an output for every token, from it and earlier ones alone; else one for the example.
    """

    kind: Literal["image", "rows", "tokens"]
    shape: tuple[int, ...]
    vocabulary: int = 0
    causal: bool = False

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return {"image": f"images of {size}", "rows": f"rows of {size} features", "tokens": f"{size} tokens"}[self.kind]


@dataclass(frozen=True)
class Parts:
    """The parts a model is made of.

    Args:
      activation: a function, or a module class where there is something to learn; :meth:`act` makes a layer of either.
      norm: ``norm(features, rngs)`` makes a normalisation of the last axis.
      kernel_init: for the kernels of layers that an activation follows.
      linear_init: for the kernels of layers that nothing follows: outputs, attention projections.
      rate: dropout rate, or None for no dropout.
    """

    activation: Choice
    norm: Choice
    kernel_init: Initializer
    linear_init: Initializer
    rate: Number | None = None

    @property
    def gated(self) -> bool:
        """Whether the activation takes twice as many features as it gives."""
        return self.activation.name in GATED

    def act(self, features: int, rngs: nnx.Rngs, *, gated: bool = False) -> Callable[[Array], Array]:
        """The activation of ``features``; a model that has a place for a gated one says so by ``gated=True``."""
        if self.gated and not gated:
            raise Unfit(".act", self.activation.name, "be an elementwise activation, such as gelu, for this model")
        if inspect.isclass(self.activation.component):
            return self.activation(features, rngs)
        return self.activation

    def dropout(self, rngs: nnx.Rngs, *, spatial: bool = False) -> Callable[[Array], Array]:
        """A dropout layer, to be placed after the norm and activation; a ``spatial`` one drops whole channels."""
        if self.rate is None:
            return Identity()
        return (SpatialDropout if spatial else Dropout)(self.rate, rngs)


def drop_path(rate: Array | float, blocks: int, rngs: nnx.Rngs) -> list[Callable[[Array], Array]]:
    """Stochastic depth for each residual branch of a model: from 0 at the first to ``rate`` at the last."""
    if isinstance(rate, float | int) and rate == 0:
        return [Identity() for _ in range(blocks)]
    number = Number(rate)
    return [DropPath(number, (i + 1) / blocks, rngs) for i in range(blocks)]
