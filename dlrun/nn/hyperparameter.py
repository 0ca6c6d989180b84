"""A number in the model's state that is not trained."""

from flax import nnx


class Number(nnx.Variable):
    """A hyperparameter that lives in the model's state but is not trained."""
