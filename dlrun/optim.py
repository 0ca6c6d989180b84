"""Optimizers: ``f(decay)`` gives an ``optax.GradientTransformation``.

``decay`` says which parameters weight decay touches: a function from parameters to a tree of booleans. ``lr`` is the
peak of the schedule in the YAML file and the scheduled rate of the step when the step calls. All numbers may be traced:
the transformation is made anew from the numbers in the training state at each step, its state is not.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax

from dlrun.schema import NonNegative, Positive, Rate

Mask = Callable[[Any], Any]


def sgd(
    decay: Mask,
    *,
    lr: Positive = 0.1,
    momentum: Rate = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegative = 5e-4,
) -> optax.GradientTransformation:
    """v ← momentum·v + g + weight_decay·w; w ← w - lr·v (Nesterov: w - lr·(g + momentum·v)). Sutskever et al., 2013."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, decay), optax.sgd(lr, momentum=momentum, nesterov=nesterov)
    )


def adam(
    decay: Mask, *, lr: Positive = 1e-3, b1: Rate = 0.9, b2: Rate = 0.999, eps: Positive = 1e-8
) -> optax.GradientTransformation:
    """w ← w - lr·m̂ / (√v̂ + eps), m̂ and v̂ the unbiased running moments of the gradient. Kingma & Ba, 2015."""
    return optax.adam(lr, b1=b1, b2=b2, eps=eps)


def adamw(
    decay: Mask,
    *,
    lr: Positive = 1e-3,
    b1: Rate = 0.9,
    b2: Rate = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 1e-2,
) -> optax.GradientTransformation:
    """Adam's step, and w ← w - lr·weight_decay·w beside it. Loshchilov & Hutter, 2019."""
    return optax.adamw(lr, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=decay)


def kernels(params: Any) -> Any:
    """True for the parameters that weight decay touches: matrices and convolution kernels, but no embeddings."""

    def decays(path, leaf):
        name = jax.tree_util.keystr(path).lower()
        return leaf.ndim >= 2 and not any(spared in name for spared in ("embedding", "positions"))

    return jax.tree_util.tree_map_with_path(decays, params)
