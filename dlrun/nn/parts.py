"""What a model is given: a description of its inputs, and the parts that the user chose."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from flax import nnx
from jax import Array
from jax.nn.initializers import Initializer

from dlrun.config.choice import Choice
from dlrun.errors import Unfit
from dlrun.nn.declared import declared
from dlrun.nn.dropout import Dropout, DropPath, SpatialDropout
from dlrun.nn.hyperparameter import Hyperparameter
from dlrun.nn.norms import Identity


@dataclass(frozen=True)
class Inputs:
    """Describes the examples that a model gets.

    Args:
      kind: ``image``, floats of shape (height, width, channels); ``rows``, floats (features,); or ``tokens``, integers
        (length,) from 0 to ``vocabulary`` - 1.
      shape: the shape of one example; a batch has one more axis, in front.
      vocabulary: how many different tokens there are; 0 for other kinds.
      causal: True if the model gives outputs for every token, (B, T, outputs), each computed from this and earlier
        tokens alone; False if it gives outputs for the whole example, (B, outputs).
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
    """The activation, norm, initialisers and dropout that the user chose, for a model to build its layers with.

    Args:
      activation: a function, or a module class if the activation has parameters. Models call :meth:`act`.
      norm: ``norm(features, rngs)`` makes a module that normalises (..., features).
      kernel_init: initialises the kernels of layers that an activation follows.
      linear_init: initialises the kernels of layers that no activation follows: outputs, attention projections.
      rate: the dropout rate, or None for no dropout. Models call :meth:`dropout`.
    """

    activation: Choice
    norm: Choice
    kernel_init: Initializer
    linear_init: Initializer
    rate: Hyperparameter | None = None

    @property
    def gated(self) -> bool:
        """Whether the activation takes twice as many features as it returns."""
        return declared(self.activation).gated

    def act(self, features: int, rngs: nnx.Rngs, *, gated: bool = False) -> Callable[[Array], Array]:
        """The activation for ``features`` features: maps (..., features) to the same shape.

        A gated activation maps (..., 2·features) to (..., features). A model that can give it twice as many features
        says so by ``gated=True``; for other models a gated activation is :class:`Unfit`.
        """
        if self.gated and not gated:
            raise Unfit(".act", self.activation.name, "be an elementwise activation, such as gelu, for this model")
        if inspect.isclass(self.activation.component):
            return self.activation(features, rngs)
        return self.activation

    def dropout(self, rngs: nnx.Rngs, *, spatial: bool = False) -> Callable[[Array], Array]:
        """A dropout layer to use after norm and activation; a ``spatial`` one drops whole channels."""
        if self.rate is None:
            return Identity()
        return (SpatialDropout if spatial else Dropout)(self.rate, rngs)


def drop_path(rate: Array | float, blocks: int, rngs: nnx.Rngs) -> list[Callable[[Array], Array]]:
    """Stochastic depth: a layer for each of ``blocks`` residual branches, to be called on the branch's output.

    The probability of dropping a branch rises linearly, up to ``rate`` for the last one.
    """
    if isinstance(rate, float | int) and rate == 0:
        return [Identity() for _ in range(blocks)]
    shared = Hyperparameter(rate)
    return [DropPath(shared, (i + 1) / blocks, rngs) for i in range(blocks)]
