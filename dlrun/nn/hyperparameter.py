"""A hyperparameter as a variable of a model."""

from flax import nnx


class Hyperparameter(nnx.Variable):
    """A hyperparameter, such as a dropout rate: a variable that is part of the model's state but is not trained."""
