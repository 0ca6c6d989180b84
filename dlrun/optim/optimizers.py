"""Optimizers: ``f(decay)`` gives an ``optax.GradientTransformation``.

``decay`` is a function from parameters to a tree of booleans, which says what weight decay applies to; ``decay_all``
overrides it. In the YAML file ``lr`` is the peak of the schedule; the training step passes the scheduled rate. All
numbers may be traced: each step makes the transformation anew from the numbers in the training state, and only the
optimizer's own state carries over.

In the formulas w is a parameter (an array) and g its gradient. Everything is elementwise except norms ‖·‖, each over
one parameter unless the text says otherwise.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any

import jax
import optax
from jax import Array
from optax.contrib import MuonDimensionNumbers
from pydantic import Field

from dlrun.config.schema import Count, NonNegative, Positive, Rate, Traced

Mask = Callable[[Any], Any]
AtLeast1 = Annotated[float, Field(ge=1), Traced()]


def sgd(
    decay: Mask,
    *,
    lr: Positive = 0.1,
    momentum: Rate = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegative = 5e-4,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum. Sutskever et al., 2013.

    d = g + weight_decay·w; v ← momentum·v + d; w ← w - lr·v, or with Nesterov's momentum w ← w - lr·(d + momentum·v).
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, touched(decay, decay_all)),
        optax.sgd(lr, momentum=momentum, nesterov=nesterov),
    )


def adam(
    decay: Mask, *, lr: Positive = 1e-3, b1: Rate = 0.9, b2: Rate = 0.999, eps: Positive = 1e-8
) -> optax.GradientTransformation:
    """Adam: w ← w - lr·m̂ / (√v̂ + eps). Kingma & Ba, 2015.

    m̂ and v̂ are the running means of g and g², with the bias of their start at 0 corrected.
    """
    return optax.adam(lr, b1=b1, b2=b2, eps=eps)


def adamw(
    decay: Mask,
    *,
    lr: Positive = 1e-3,
    b1: Rate = 0.9,
    b2: Rate = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 1e-2,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay: w ← w - lr·(Adam's step + weight_decay·w). Loshchilov & Hutter, 2019."""
    return optax.adamw(lr, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=touched(decay, decay_all))


def rmsprop(
    decay: Mask, *, lr: Positive = 1e-3, b2: Rate = 0.9, momentum: Rate = 0.0, eps: Positive = 1e-8
) -> optax.GradientTransformation:
    """RMSprop: v ← b2·v + (1 - b2)·g²; u ← momentum·u + g / (√v + eps); w ← w - lr·u. Hinton, 2012 (lecture 6e)."""
    # Not optax.rmsprop, whose momentum adds up updates already scaled by earlier rates: here, as in sgd, the current
    # rate scales all of u.
    return optax.chain(
        optax.scale_by_rms(b2, eps, eps_in_sqrt=False), optax.trace(momentum), optax.scale_by_learning_rate(lr)
    )


def adagrad(
    decay: Mask, *, lr: Positive = 1e-2, initial: NonNegative = 0.1, eps: Positive = 1e-7
) -> optax.GradientTransformation:
    """AdaGrad: w ← w - lr·g / √(s + eps), s = ``initial`` + the sum of g² over all steps so far. Duchi et al., 2011."""
    return optax.adagrad(lr, initial_accumulator_value=initial, eps=eps)


def lion(
    decay: Mask,
    *,
    lr: Positive = 1e-4,
    b1: Rate = 0.9,
    b2: Rate = 0.99,
    weight_decay: NonNegative = 0.1,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """Lion: w ← w - lr·(sign(b1·m + (1 - b1)·g) + weight_decay·w); m ← b2·m + (1 - b2)·g. Chen et al., 2023."""
    return optax.lion(lr, b1=b1, b2=b2, weight_decay=weight_decay, mask=touched(decay, decay_all))


def lamb(
    decay: Mask,
    *,
    lr: Positive = 1e-3,
    b1: Rate = 0.9,
    b2: Rate = 0.999,
    eps: Positive = 1e-6,
    weight_decay: NonNegative = 1e-2,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """LAMB: w ← w - lr·(‖w‖ / ‖u‖)·u, u = m̂ / (√v̂ + eps) + weight_decay·w, m̂ and v̂ as in Adam. You et al., 2020.

    As in the authors' code, biases, norm parameters and embeddings take the step u without the ratio of norms, which
    would nearly freeze a bias that starts at 0. Where either norm is 0, the ratio is 1.
    """
    return optax.chain(
        optax.scale_by_adam(b1, b2, eps),
        optax.add_decayed_weights(weight_decay, touched(decay, decay_all)),
        optax.masked(optax.scale_by_trust_ratio(), decay),
        optax.scale_by_learning_rate(lr),
    )


def lars(
    decay: Mask,
    *,
    lr: Positive = 0.3,
    momentum: Rate = 0.9,
    trust_coefficient: Positive = 1e-3,
    weight_decay: NonNegative = 5e-4,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """LARS: v ← momentum·v + lr·trust_coefficient·(‖w‖ / ‖u‖)·u, u = g + weight_decay·w; w ← w - v. You et al., 2017.

    Biases, norm parameters and embeddings take the step u without trust_coefficient and the ratio of norms. Where
    either norm is 0, both factors are 1.
    """
    return optax.lars(
        lr,
        weight_decay=weight_decay,
        weight_decay_mask=touched(decay, decay_all),
        trust_coefficient=trust_coefficient,
        trust_ratio_mask=decay,
        momentum=momentum,
    )


def adafactor(
    decay: Mask,
    *,
    lr: Positive = 1e-2,
    relative: bool = True,
    decay_rate: Positive = 0.8,
    clipping_threshold: AtLeast1 = 1.0,
    momentum: Rate | None = None,
    factor_from: Count = 128,
    weight_decay: NonNegative = 0.0,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """Adafactor: w ← w - lr·max(10⁻³, RMS(w))·u, where u = g / √v̂. Shazeer & Stern, 2018.

    u is scaled down where its root mean square (RMS) exceeds ``clipping_threshold``. v̂ is the running mean of g²,
    whose decay at step t (from 1) is 1 - t^-decay_rate. For an array with two axes n, m of at least ``factor_from``
    entries, only the means of v̂ over either axis are stored, and v̂ is their product divided by the mean of all:
    memory grows with n + m in place of n·m. Without ``relative``, the factor max(10⁻³, RMS(w)) is 1. With ``momentum``,
    the step is a running mean of such steps. Weight decay is AdamW's.
    """
    return optax.adafactor(
        lr,
        min_dim_size_to_factor=factor_from,
        decay_rate=decay_rate,
        multiply_by_parameter_scale=relative,
        clipping_threshold=clipping_threshold,
        momentum=momentum,
        weight_decay_rate=lr * weight_decay,  # optax does not multiply it by the learning rate
        weight_decay_mask=touched(decay, decay_all),
    )


def muon(
    decay: Mask,
    *,
    lr: Positive = 1e-3,
    momentum: Rate = 0.95,
    nesterov: bool = True,
    iterations: Annotated[int, Field(ge=1, le=20)] = 5,
    rms: Positive = 0.2,
    b1: Rate = 0.9,
    b2: Rate = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.1,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """Muon: w ← w - lr·(rms·√max(n, m)·orthogonal(m̂) + weight_decay·w) for hidden kernels (n, m). Jordan et al., 2024.

    m̂ is the running mean of g, with the bias of its start at 0 corrected. orthogonal(U S Vᵀ) ≈ U Vᵀ: ``iterations`` of
    Newton and Schulz bring the singular values near 1. The factor rms·√max(n, m) gives the update the same root mean
    square as Adam's, so that one learning rate fits both (Liu et al., 2025). A convolution's kernel counts as a matrix
    (window·inputs, outputs). All other parameters (output layer, embeddings, biases, norms) take Adam's step with
    ``b1``, ``b2``, ``eps``.
    """

    def matrices(updates):
        return jax.tree.map(lambda u: MuonDimensionNumbers(tuple(range(u.ndim - 1)), u.ndim - 1), updates)

    def sized(u: Array) -> Array:
        return rms * math.sqrt(max(u.shape[-1], u.size // u.shape[-1])) * u

    def kinds(params):
        return jax.tree.map(lambda is_hidden: "muon" if is_hidden else "adam", hidden(params))

    orthogonal = optax.contrib.scale_by_muon(
        ns_steps=iterations, beta=momentum, nesterov=nesterov, weight_dimension_numbers=matrices
    )
    scaled = optax.stateless(lambda updates, _: jax.tree.map(sized, updates))
    return optax.chain(
        optax.partition({"muon": optax.chain(orthogonal, scaled), "adam": optax.scale_by_adam(b1, b2, eps)}, kinds),
        optax.add_decayed_weights(weight_decay, touched(decay, decay_all)),
        optax.scale_by_learning_rate(lr),
    )


def sam(
    decay: Mask,
    *,
    lr: Positive = 0.1,
    momentum: Rate = 0.9,
    rho: NonNegative = 0.05,
    weight_decay: NonNegative = 5e-4,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """Sharpness-aware minimisation: :func:`sgd` with the gradient at w + rho·g / ‖g‖. Foret et al., 2021.

    The norm is over all parameters. ``update`` needs ``grad_fn(params, i)``, which gives the gradient of the same batch
    at other parameters: a step computes two gradients.
    """
    climb = optax.chain(optax.normalize_by_update_norm(eps=1e-12), optax.sgd(rho))
    descend = sgd(decay, lr=lr, momentum=momentum, weight_decay=weight_decay, decay_all=decay_all)
    return optax.contrib.sam(descend, climb, opaque_mode=True)


def touched(decay: Mask, decay_all: bool) -> Mask | None:
    """The mask of the parameters that weight decay applies to, as optax takes it; None means all."""
    return None if decay_all else decay


def kernels(params: Any) -> Any:
    """The mask for weight decay, a tree of booleans: true for matrices and convolution kernels, but no embeddings."""

    def decays(path, leaf):
        name = jax.tree_util.keystr(path).lower()
        return leaf.ndim >= 2 and not any(spared in name for spared in ("embedding", "positions"))

    return jax.tree_util.tree_map_with_path(decays, params)


def hidden(params: Any) -> Any:
    """A tree of booleans, true for the kernels of all layers but the model's ``output``."""

    def inside(path, is_kernel):
        return is_kernel and "output" not in jax.tree_util.keystr(path, simple=True, separator="/").split("/")

    return jax.tree_util.tree_map_with_path(inside, kernels(params))
