"""What one's own parts are written with: models, activations, norms, optimizers, schedules, data sources and others.

Positional parameters of a component are given by dlrun, keyword-only ones are the keys of its YAML file: their
annotations say what is allowed, their defaults what holds where the file leaves a key out.

* :data:`Count`, :data:`Positive`, :data:`NonNegative`, :data:`Rate`: types of keys. ``Annotated`` types of pydantic's
  and annotated-types' (``Ge``, ``Lt``, ``Literal`` …) do as well.
* :class:`Traced`: marks a number that lives in the training state, so that no other value of it compiles anew.
* :class:`Unfit`: raised by a component whose values do not fit the data or each other.
* :class:`Dataset`, :class:`Rows`, :class:`Inputs`: what a data source gives, and what a model is told of it.
* :class:`Parts`: the activation, norm, initialisers and dropout that a model is made with.
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
    """The names that need JAX, when they are asked for."""
    if name in ("Dataset", "Inputs", "Rows"):
        from dlrun.data import dataset

        return getattr(dataset, name)
    if name == "Parts":
        from dlrun.nn.parts import Parts

        return Parts
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
