"""Normalisations: ``norm(features, rngs)`` makes a module that normalises ``(..., features)``."""

import math
from typing import Annotated

from flax import nnx
from jax import Array
from pydantic import Field

from dlrun.config.schema import Count
from dlrun.errors import Unfit

Epsilon = Annotated[float, Field(gt=0)]

MIXES_POSITIONS = frozenset({"batch", "group", "instance"})
"""Names of the norms whose statistics are over several positions; by them a causal model would see later tokens."""


class BatchNorm(nnx.BatchNorm):
    """``nnx.BatchNorm`` whose output has the precision of its input, while its running averages stay float32."""

    def __call__(self, x: Array, *args, **kwargs) -> Array:
        return super().__call__(x, *args, **kwargs).astype(x.dtype)


class GroupNorm(nnx.GroupNorm):
    """``nnx.GroupNorm`` that refuses groups of a single value, which would all become 0."""

    def __call__(self, x: Array, *args, **kwargs) -> Array:
        if math.prod(x.shape[1:]) == self.num_groups:
            allowed = f"leave a group more than one of the {self.num_groups} features of a layer without positions"
            raise Unfit(".norm.groups", self.num_groups, allowed)
        return super().__call__(x, *args, **kwargs)


class InstanceNorm(nnx.InstanceNorm):
    """``nnx.InstanceNorm`` that refuses inputs of a single position, which would all become 0."""

    def __call__(self, x: Array, *args, **kwargs) -> Array:
        if math.prod(x.shape[1:-1]) == 1:
            allowed = f"be another, such as layer: this model has a layer of {x.shape[-1]} features without positions"
            raise Unfit(".norm", "instance", allowed)
        return super().__call__(x, *args, **kwargs)


class Identity(nnx.Module):
    """Returns its input."""

    def __call__(self, x: Array) -> Array:
        return x


def batch(
    features: int, rngs: nnx.Rngs, *, momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9, epsilon: Epsilon = 1e-5
) -> nnx.Module:
    """γ·(x - μ)/√(σ² + ε) + β with μ, σ² of each feature over all other axes. Ioffe & Szegedy, 2015.

    In training μ and σ² (biased) are those of the batch, and they update the running averages:
    average ← momentum·average + (1 - momentum)·batch's. In evaluation μ and σ² are the running averages, so that the
    output for an example does not depend on the rest of its batch.
    """
    return BatchNorm(features, momentum=momentum, epsilon=epsilon, use_fast_variance=False, rngs=rngs)


def layer(features: int, rngs: nnx.Rngs, *, epsilon: Epsilon = 1e-6) -> nnx.Module:
    """γ·(x - μ)/√(σ² + ε) + β with μ, σ² over the last axis of each position. Ba et al., 2016."""
    return nnx.LayerNorm(features, epsilon=epsilon, use_fast_variance=False, rngs=rngs)


def rms(features: int, rngs: nnx.Rngs, *, epsilon: Epsilon = 1e-6) -> nnx.Module:
    """γ·x/√(mean(x²) + ε), the mean over the last axis of each position. Zhang & Sennrich, 2019."""
    return nnx.RMSNorm(features, epsilon=epsilon, use_fast_variance=False, rngs=rngs)


def group(features: int, rngs: nnx.Rngs, *, groups: Count | None = None, epsilon: Epsilon = 1e-5) -> nnx.Module:
    """γ·(x - μ)/√(σ² + ε) + β with μ, σ² over a group of features and all positions of an example. Wu & He, 2018.

    ``groups=None`` takes the paper's 32; for layers of fewer than 128 features, or of a number that 32 does not divide,
    it takes the largest number below that divides ``features`` into groups of 4 or more, as normalising smaller groups
    would lose most of what they hold. Raises :class:`Unfit` if ``groups`` does not divide ``features``, or if a group
    of (B, features) has a single value.
    """
    if groups is None:
        groups = max(n for n in range(1, 33) if n == 1 or (features % n == 0 and features >= 4 * n))
    if features % groups:
        divisors = ", ".join(str(n) for n in range(1, features + 1) if features % n == 0)
        raise Unfit(".norm.groups", groups, f"divide the {features} features of a layer: {divisors}")
    return GroupNorm(features, groups, epsilon=epsilon, use_fast_variance=False, rngs=rngs)


def instance(features: int, rngs: nnx.Rngs, *, epsilon: Epsilon = 1e-5) -> nnx.Module:
    """γ·(x - μ)/√(σ² + ε) + β with μ, σ² of each feature over the positions of an example. Ulyanov et al., 2016.

    x is (B, positions ..., features); raises :class:`Unfit` for a single position, such as (B, features).
    """
    return InstanceNorm(features, epsilon=epsilon, use_fast_variance=False, rngs=rngs)


def none(features: int, rngs: nnx.Rngs) -> nnx.Module:
    """No normalisation."""
    return Identity()
