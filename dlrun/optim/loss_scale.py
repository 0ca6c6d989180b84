"""Dynamic loss scaling: keeps float16 gradients from vanishing below the smallest float16 number."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array


@partial(jax.tree_util.register_dataclass, data_fields=["scale", "streak"], meta_fields=[])
@dataclass(frozen=True)
class LossScale:
    """What float16 losses are multiplied by: halved after an overflow, doubled after 2000 finite steps in a row.

    Micikevicius et al., 2018. It stays between 1 and 2²⁴.

    Args:
      scale: the factor, float32 ().
      streak: finite steps since the factor last changed, int32 ().
    """

    scale: Array
    streak: Array

    @classmethod
    def start(cls) -> "LossScale":
        """The scale of the first step, 2¹⁵."""
        return cls(jnp.float32(2.0**15), jnp.int32(0))

    def after(self, finite: Array) -> "LossScale":
        """The scale for the next step; ``finite``, bool (), says whether this step's gradients were."""
        grown = self.streak >= 1999
        scale = jnp.where(finite, jnp.where(grown, self.scale * 2, self.scale), self.scale / 2)
        return LossScale(jnp.clip(scale, 1.0, 2.0**24), jnp.where(finite & ~grown, self.streak + 1, 0))
