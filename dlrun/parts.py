"""What you import to write parts of your own: ``from dlrun.parts import Count, Inputs, Parts``.

A part is a function or a class: a model, an activation, an optimizer, and so on. dlrun passes its positional arguments.
Its keyword-only parameters are the keys of its YAML file: their annotations say which values are allowed, and their
defaults hold where the file leaves a key out.

What each kind of part is called with, and what it returns::

    model(inputs, outputs, parts, rngs)  an nnx.Module that gives (B, outputs) for x of shape (B, *inputs.shape),
                                         or (B, T, outputs) where inputs.causal
    act(x)                               an array of the shape of x
    act(features, rngs)                  if act is a class: an nnx.Module that does the same for (..., features)
    norm(features, rngs)                 an nnx.Module that normalises (..., features)
    init(activation)                     an initialiser, as in jax.nn.initializers, for a layer that is followed by the
                                         activation of that name; activation.init is the initialiser that it declares
    optim(decay)                         an optax.GradientTransformation; it has a key lr, and decay is the mask of the
                                         parameters that weight decay applies to
    schedule(step, total, peak)          the learning rate of a step, from 0 to total - 1
    augment(key, batch)                  the batch with its x changed at random; x keeps its shape
    loss(outputs, targets, smoothing)    the loss of each example, (B,)
    data()                               a Dataset

JAX traces all of them except ``data``. The parts in ``dlrun/models``, ``dlrun/nn``, ``dlrun/optim``,
``dlrun/objective``, ``dlrun/data/augment.py`` and ``dlrun/data/sources`` are examples to copy.

* :data:`Count`, :data:`Positive`, :data:`NonNegative`, :data:`Rate`: types of keys: a whole number >= 1, a number
  above 0, a number from 0 on, a number in [0, 1). Python's own types work too, and so do ``Literal`` and ``Annotated``
  with pydantic's ``Field`` or with annotated-types' ``Ge``, ``Lt`` …
* :class:`Traced`: marks a number that is part of the training state, so that another value needs no new compilation:
  ``Annotated[float, Ge(0), Traced()]``. ``Positive``, ``NonNegative`` and ``Rate`` are marked, ``Count`` is not.
* :func:`activation`: a decorator by which an activation declares which initialiser the layers before it need, and
  whether it saturates or is gated.
* :class:`Unfit`: the error that a part raises if its values do not fit the data or each other.
* :class:`InvalidConfig`: the error that dlrun raises once it knows all that is wrong with a command.
* :class:`Inputs`: what a model is told about its inputs.
* :class:`Parts`: the activation, norm, initialisers and dropout that the user chose, for a model to be made of.
* :class:`Dataset`, :class:`Rows`: what a data source returns.
"""

from typing import TYPE_CHECKING, Any

from dlrun.config.schema import Count, NonNegative, Positive, Rate, Traced
from dlrun.errors import InvalidConfig, Unfit

if TYPE_CHECKING:
    from dlrun.data.dataset import Dataset, Rows
    from dlrun.nn.declared import activation
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
    "activation",
]


def __getattr__(name: str) -> Any:
    """Imports the names that need JAX only when they are asked for."""
    if name in ("Dataset", "Rows"):
        from dlrun.data import dataset

        return getattr(dataset, name)
    if name == "activation":
        from dlrun.nn import declared

        return declared.activation
    if name in ("Inputs", "Parts"):
        from dlrun.nn import parts

        return getattr(parts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
