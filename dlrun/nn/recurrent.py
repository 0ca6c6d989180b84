"""Recurrent layers, (B, T, inputs) to (B, T, width), and stacks of them. The first state is zeros.

x_t W is computed for all t in one product, before the loop over time; h_{t-1} U is computed inside the loop. U has a
matrix (width, width) for each gate, which starts orthogonal (Saxe et al., 2014). In the formulas ⊙ is the elementwise
product and σ the sigmoid.

With half precision, only the products x_t W and h_{t-1} U are computed in it; gates and states stay float32. In
bfloat16 a state that changes by less than 1/256 of itself per step would not change at all, and a forget gate of 0.999
would be 1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.nn.initializers import Initializer, normal, orthogonal

from dlrun.errors import Unfit
from dlrun.nn.linear import Embed, Linear, at_least_float32
from dlrun.nn.parts import Inputs, Parts
from dlrun.nn.positions import leaks


class Elman(nnx.Module):
    """h_t = act(x_t W + h_{t-1} U + b). Elman, 1990."""

    def __init__(self, inputs: int, width: int, parts: Parts, rngs: nnx.Rngs):
        self.input = Linear(inputs, width, kernel_init=parts.kernel_init, rngs=rngs)
        self.recurrent = nnx.Param(orthogonal()(rngs.params(), (width, width)))
        self.act = parts.act(width, rngs)

    def __call__(self, x_BTI: Array) -> Array:
        U = self.recurrent[...]

        def step(state, xW):
            (h,) = state
            h = self.act(xW + fed_back(h, U))
            return (h,), h

        return over_time(step, self.input(x_BTI), U.shape[0], states=1)


class LongShortTerm(nnx.Module):
    """h_t = o ⊙ act(c_t), c_t = f ⊙ c_{t-1} + i ⊙ act(g). Hochreiter & Schmidhuber, 1997; Gers et al., 2000.

    (i, f, g, o) = x_t W + h_{t-1} U + b, with σ applied to i, f and o. The bias of f starts at 1, so that from the
    start of training gradients reach far back in time (Jozefowicz et al., 2015).
    """

    def __init__(self, inputs: int, width: int, parts: Parts, rngs: nnx.Rngs):
        def forget_1(key, shape, dtype=jnp.float32, out_sharding=None):
            return jnp.repeat(jnp.array([0, 1, 0, 0], dtype), width)

        kernel_init = by_gate(parts.kernel_init, 4)
        self.input = Linear(inputs, 4 * width, kernel_init=kernel_init, bias_init=forget_1, rngs=rngs)
        self.recurrent = nnx.Param(by_gate(orthogonal(), 4)(rngs.params(), (width, 4 * width)))
        self.act = parts.act(width, rngs)

    def __call__(self, x_BTI: Array) -> Array:
        U = self.recurrent[...]

        def step(state, xW):
            h, c = state
            i, f, g, o = jnp.split(xW + fed_back(h, U), 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * self.act(g)
            h = jax.nn.sigmoid(o) * self.act(c)
            return (h, c), h

        return over_time(step, self.input(x_BTI), U.shape[0], states=2)


class GatedRecurrent(nnx.Module):
    """h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}, n = act(x_t W_n + b_n + r ⊙ (h_{t-1} U_n + d)). Cho et al., 2014.

    (r, z) = σ(x_t W + h_{t-1} U + b); b, b_n and d are biases. As in cuDNN and PyTorch, r multiplies the product
    h_{t-1} U_n rather than h_{t-1}, so that a step needs only one product.
    """

    def __init__(self, inputs: int, width: int, parts: Parts, rngs: nnx.Rngs):
        self.input = Linear(inputs, 3 * width, kernel_init=by_gate(parts.kernel_init, 3), rngs=rngs)
        self.recurrent = nnx.Param(by_gate(orthogonal(), 3)(rngs.params(), (width, 3 * width)))
        self.bias = nnx.Param(jnp.zeros(width))
        self.act = parts.act(width, rngs)

    def __call__(self, x_BTI: Array) -> Array:
        U, d = self.recurrent[...], self.bias[...]
        width = U.shape[0]

        def step(state, xW):
            (h,) = state
            hU = fed_back(h, U)
            r, z = jnp.split(jax.nn.sigmoid(xW[:, : 2 * width] + hU[:, : 2 * width]), 2, axis=-1)
            n = self.act(xW[:, 2 * width :] + r * (hU[:, 2 * width :] + d))
            h = (1 - z) * n + z * h
            return (h,), h

        return over_time(step, self.input(x_BTI), width, states=1)


def fed_back(h: Array, U: Array) -> Array:
    """h U in float32 at least, computed in the precision of U."""
    return at_least_float32(h.astype(U.dtype) @ U)


def over_time(step: Callable, xW_BTG: Array, width: int, *, states: int) -> Array:
    """Calls ``state, h_BD = step(state, xW_BG)`` for one time step after the other; returns all h, (B, T, width).

    States are float32 at least. So are the gradients, summed over time, of the parameters that ``step`` uses, such as
    U.

    Args:
      step: uses arrays such as U, not modules such as Linear: what a module returns inside a compiled loop can't be
        recorded (:mod:`dlrun.check.calls`).
      states: how many arrays of shape (B, width) the state has.
    """
    xW_TBG, dtype = xW_BTG.swapaxes(0, 1), xW_BTG.dtype
    start = (at_least_float32(jnp.zeros((xW_BTG.shape[0], width), dtype)),) * states
    # The parameters become arguments of step, so that the loop sums their gradients in float32.
    step, parameters = jax.closure_convert(step, start, xW_TBG[0])
    float32 = [at_least_float32(p) for p in parameters]

    def body(state, xW_BG):
        state, h_BD = step(state, xW_BG, *(f.astype(p.dtype) for f, p in zip(float32, parameters, strict=True)))
        return state, h_BD.astype(dtype)

    return jax.lax.scan(body, start, xW_TBG)[1].swapaxes(0, 1)


def by_gate(init: Initializer, gates: int) -> Initializer:
    """Initialises kernels (inputs, gates·width), one gate at a time, so that fan_out is that of a single gate."""

    def gate_by_gate(key, shape, dtype=jnp.float32, out_sharding=None):
        gate_shape = (shape[0], shape[1] // gates)
        return jnp.concatenate([init(k, gate_shape, dtype) for k in jax.random.split(key, gates)], axis=1)

    return gate_by_gate


class Stack(nnx.Module):
    """``depth`` recurrent layers, each followed by norm and dropout, over tokens or over the rows of an image.

    Tokens are embedded as vectors of size ``width``, initialised N(0, 1). Each row of an image (H, W, C) is a time
    step, (W·C,).

    Args:
      layer: ``layer(inputs, width, parts, rngs)`` makes a recurrent layer.
      model: the model's name, for errors.

    Raises:
      Unfit: for rows of features, or for a norm that does not fit causal inputs.
    """

    def __init__(
        self,
        layer: Callable[[int, int, Parts, nnx.Rngs], nnx.Module],
        inputs: Inputs,
        width: int,
        depth: int,
        parts: Parts,
        rngs: nnx.Rngs,
        *,
        model: str,
    ):
        if inputs.kind == "rows":
            raise Unfit("name", model, f"be a model for {inputs}, such as mlp: it reads tokens, or images row by row")
        if misfits := leaks(inputs, parts):
            raise misfits[0]
        tokens = inputs.kind == "tokens"
        init = normal(1.0)
        self.embed = Embed(inputs.vocabulary, width, embedding_init=init, rngs=rngs) if tokens else None
        size = width if tokens else inputs.shape[1] * inputs.shape[2]
        self.layers = nnx.List([layer(width if i else size, width, parts, rngs) for i in range(depth)])
        self.norms = nnx.List([parts.norm(width, rngs) for _ in range(depth)])
        self.dropouts = nnx.List([parts.dropout(rngs) for _ in range(depth)])

    def __call__(self, x: Array) -> Array:
        x_BTI = self.embed(x) if self.embed is not None else x.reshape(*x.shape[:2], -1)
        for layer, norm, dropout in zip(self.layers, self.norms, self.dropouts, strict=True):
            x_BTI = dropout(norm(layer(x_BTI)))
        return x_BTI
