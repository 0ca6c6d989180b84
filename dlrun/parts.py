"""What one's own parts are written with: ``from dlrun.parts import Count, Inputs, Parts``.

A part is a function or a class. dlrun gives its positional parameters; its keyword-only parameters are the keys of its
YAML file, whose annotations say which values are allowed, and whose defaults hold where the file leaves a key out.

What each kind of part is called with, and what it returns::

    model(inputs, outputs, parts, rngs)  an nnx.Module that gives (B, outputs) for x of shape (B, *inputs.shape),
                                         or (B, T, outputs) where inputs.causal
    act(x)                               an array of the shape of x
    act(features, rngs)                  of a class: an nnx.Module that does so for (..., features)
    norm(features, rngs)                 an nnx.Module that normalises (..., features)
    init(activation)                     an initialiser, as in jax.nn.initializers, for a layer that activation follows
    optim(decay)                         an optax.GradientTransformation; it has a key lr, and decay is the mask of the
                                         parameters that weight decay applies to
    schedule(step, total, peak)          the learning rate of a step, from 0 to total - 1
    augment(key, batch)                  a batch whose x is changed by means of a random key, and keeps its shape
    loss(outputs, targets, smoothing)    the loss of each example, (B,)
    data()                               a Dataset

JAX traces all but ``data``. The parts in ``dlrun/models``, ``dlrun/nn``, ``dlrun/optim``, ``dlrun/objective``,
``dlrun/data/augment.py`` and ``dlrun/data/sources`` are examples to copy.

* :data:`Count`, :data:`Positive`, :data:`NonNegative`, :data:`Rate`: types of keys: a whole number from 1 on, a number
  above 0, a number from 0 on, a number in [0, 1). Python's own types, ``Literal``, and ``Annotated`` with pydantic's
  ``Field`` or with annotated-types' ``Ge``, ``Lt`` … do as well.
* :class:`Traced`: marks a number that is part of the training state, so that another value needs no compilation:
  ``Annotated[float, Ge(0), Traced()]``. Of the types above all but ``Count`` are marked.
* :class:`Unfit`: raised by a part if its values do not fit the data or each other.
* :class:`InvalidConfig`: everything that is wrong with a command, raised by dlrun once all problems are known.
* :class:`Inputs`: what a model is told of its inputs.
* :class:`Parts`: the activation, norm, initialisers and dropout that the user chose, for a model to be made of.
* :class:`Dataset`, :class:`Rows`: what a data source returns.
"""

from typing import TYPE_CHECKING, Any

from dlrun.config.schema import Count, NonNegative, Positive, Rate, Traced
from dlrun.errors import InvalidConfig, Unfit

if TYPE_CHECKING:
    from dlrun.data.dataset import Dataset, Rows
    from dlrun.nn.parts import Inputs, Parts

__all__ = [
    "Count",
    "Dataset",
    "Inputs",
    "InvalidConfig",
    "NonNegative",
    "Parts",
    "Positive",
    "Rate",
    "Rows",
    "Traced",
    "Unfit",
]


def __getattr__(name: str) -> Any:
    """Imports the names that need JAX when they are asked for."""
    if name in ("Dataset", "Rows"):
        from dlrun.data import dataset

        return getattr(dataset, name)
    if name in ("Inputs", "Parts"):
        from dlrun.nn import parts

        return getattr(parts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
