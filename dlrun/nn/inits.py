"""Initialisers of kernels: ``init(activation)`` gives ``f(key, shape, dtype)``.

``activation`` names what follows the layer, ``identity`` when nothing does. Shapes are (..., fan in, fan out) as in
JAX: the axes before are a convolution's window and count to both fans. ``scale`` multiplies the standard deviation.
"""

import jax
from jax.nn.initializers import Initializer, variance_scaling

from dlrun.schema import Positive

RELU_FAMILY = {"relu", "leaky_relu", "elu", "gelu", "swish"}
SATURATING = {"tanh", "sigmoid"}


def auto(activation: str, *, scale: Positive = 1.0) -> Initializer:
    """he_normal before the relu family, xavier_uniform before tanh and sigmoid, lecun_normal before anything else."""
    if activation in RELU_FAMILY:
        return he_normal(activation, scale=scale)
    if activation in SATURATING:
        return xavier_uniform(activation, scale=scale)
    return _scaled(variance_scaling(1.0, "fan_in", "normal"), scale)


def he_normal(activation: str, *, scale: Positive = 1.0) -> Initializer:
    """N(0, 2 / fan_in). He et al., 2015."""
    return _scaled(variance_scaling(2.0, "fan_in", "normal"), scale)


def xavier_uniform(activation: str, *, scale: Positive = 1.0) -> Initializer:
    """U(-a, a), a = √(6 / (fan_in + fan_out)). Glorot & Bengio, 2010."""
    return _scaled(variance_scaling(1.0, "fan_avg", "uniform"), scale)


def _scaled(base: Initializer, scale: float | jax.Array) -> Initializer:
    # Not variance_scaling's own argument: scale may be traced, so that runs of other scales share a compilation.
    def init(key, shape, dtype=None, out_sharding=None):
        return base(key, shape, dtype) * scale

    return init
