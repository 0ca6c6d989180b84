"""Initialisers of kernels: ``init(activation)`` gives a function ``f(key, shape, dtype)``, as JAX's initialisers are.

``activation`` is the name of the activation that follows the layer, ``identity`` if none does. A kernel has the shape
(..., inputs, outputs); the axes in front are a convolution's window. fan_in is inputs times the size of the window, and
fan_out is outputs times that size. ``scale`` multiplies the standard deviation.
"""

import jax
from jax.nn import initializers
from jax.nn.initializers import Initializer, variance_scaling

from dlrun.config.schema import Positive
from dlrun.nn.declared import Following


def auto(activation: Following, *, scale: Positive = 1.0) -> Initializer:
    """The initialiser that the activation which follows the layer declares; lecun_normal for one that declares none.

    - he_normal before rectifiers and similar functions, which suppress most of the negative half of their input: as He
      et al., 2015, do for relu and prelu, and Clevert et al., 2015, for elu. Their slope for negative inputs is
      ignored; a slope of 0.25 would change the standard deviation by 3%. Also before gated activations, as Dauphin et
      al., 2017, do.
    - xavier_uniform before tanh and sigmoid (Glorot & Bengio, 2010).
    - lecun_normal before selu, which needs it (Klambauer et al., 2017), before identity, and before relu_squared, whose
      output grows with the square of the kernel, so that he_normal's factor √2 would make it explode.
    """
    return BY_NAME[activation.init or "lecun_normal"](activation, scale=scale)


def he_normal(activation: str, *, scale: Positive = 1.0) -> Initializer:
    """N(0, 2 / fan_in). He et al., 2015."""
    return _scaled(variance_scaling(2.0, "fan_in", "normal"), scale)


def he_uniform(activation: str, *, scale: Positive = 1.0) -> Initializer:
    """U(-a, a), a = √(6 / fan_in). He et al., 2015."""
    return _scaled(variance_scaling(2.0, "fan_in", "uniform"), scale)


def xavier_normal(activation: str, *, scale: Positive = 1.0) -> Initializer:
    """N(0, 2 / (fan_in + fan_out)). Glorot & Bengio, 2010."""
    return _scaled(variance_scaling(1.0, "fan_avg", "normal"), scale)


def xavier_uniform(activation: str, *, scale: Positive = 1.0) -> Initializer:
    """U(-a, a), a = √(6 / (fan_in + fan_out)). Glorot & Bengio, 2010."""
    return _scaled(variance_scaling(1.0, "fan_avg", "uniform"), scale)


def lecun_normal(activation: str, *, scale: Positive = 1.0) -> Initializer:
    """N(0, 1 / fan_in). LeCun et al., 1998."""
    return _scaled(variance_scaling(1.0, "fan_in", "normal"), scale)


def orthogonal(activation: str, *, scale: Positive = 1.0) -> Initializer:
    """A random matrix with orthonormal rows or columns, whichever are fewer. Saxe et al., 2014.

    A convolution's kernel (h, w, in, out) counts as the matrix (h·w·in, out).
    """
    return _scaled(initializers.orthogonal(), scale)


def truncated_normal(activation: str, *, std: Positive = 0.02, scale: Positive = 1.0) -> Initializer:
    """N(0, std²) cut off at ±2 std, which leaves a standard deviation of 0.88 std. Devlin et al., 2019 (BERT)."""
    return _scaled(initializers.truncated_normal(1.0, lower=-2.0, upper=2.0), std * scale)


def zeros(activation: str) -> Initializer:
    """0: a residual block whose branch ends with such a kernel starts as the identity. Zhang et al., 2019 (Fixup)."""
    return initializers.zeros


def _scaled(base: Initializer, scale: float | jax.Array) -> Initializer:
    # Not through variance_scaling's argument, which must be a plain number: scale may be traced, so that runs of
    # different scales share a compilation.
    def init(key, shape, dtype=None, out_sharding=None):
        return base(key, shape, dtype) * scale

    return init


BY_NAME = {f.__name__: f for f in (he_normal, he_uniform, xavier_normal, xavier_uniform, lecun_normal, orthogonal)}
"""Those that an activation can declare."""
