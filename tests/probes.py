"""Programs that compilers got wrong, or could: each compiled, op by op, and in NumPy's float64.

``python -m tests.probes [NAME ...]`` prints a line of JSON a probe: by how much its results are off, relative to the
largest number that is right. A process of its own, since some of them once crashed one, and compiled as users compile.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlrun.config.settings import Settings
from dlrun.nn.attention import attend
from dlrun.program import devices

Probe = Callable[[], tuple[Callable[..., Any], Callable[..., Any], tuple[np.ndarray, ...]]]
PROBES: dict[str, Probe] = {}
"""By name: makes a function in JAX, the same in NumPy, and the arrays that both are given."""
NHWC = ("NHWC", "HWIO", "NHWC")
ROWS = 2**15 + 1  # one more than a compiler's blocks held: its last rows were wrong


def probe(make: Probe) -> Probe:
    PROBES[make.__name__] = make
    return make


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers, float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def counted(*shape: int) -> np.ndarray:
    """Different rows: the numbers 0, 1, 2 … of the first axis, and zeros beside them."""
    found = np.zeros(shape, np.float32)
    found[(slice(None), *[0] * (len(shape) - 1))] = np.arange(shape[0])
    return found


@probe
def product_then_squares():
    """jax#39103: the last rows took the sums of others."""
    return (
        lambda m, x: jax.vmap(lambda row: jnp.sum((m @ row) ** 2))(x),
        lambda m, x: ((x @ m.T) ** 2).sum(1),
        (np.eye(3, dtype=np.float32), counted(ROWS, 3)),
    )


@probe
def product_then_sum():
    return lambda x, w: (x @ w).sum(1), lambda x, w: (x @ w).sum(1), (counted(ROWS, 3), np.eye(3, dtype=np.float32))


@probe
def product_then_largest():
    return (
        lambda x, w: (x @ w).max(1),
        lambda x, w: (x @ w).max(1),
        (drawn(ROWS, 5), drawn(5, 4, seed=1)),
    )


@probe
def product_then_logsumexp():
    def by_hand(x, w):
        z = x @ w
        top = z.max(1, keepdims=True)
        return np.log(np.exp(z - top).sum(1)) + top[:, 0]

    return lambda x, w: jax.nn.logsumexp(x @ w, axis=1), by_hand, (drawn(ROWS, 6), drawn(6, 10, seed=1))


@probe
def product_then_mean_of_columns():
    return (
        lambda x, w: jnp.square(x @ w).mean(0),
        lambda x, w: np.square(x @ w).mean(0),
        (drawn(ROWS, 4), drawn(4, 7, seed=1)),
    )


@probe
def squared_distances():
    return (
        lambda a, b: ((a[:, None] - b[None]) ** 2).sum(-1),
        lambda a, b: ((a[:, None] - b[None]) ** 2).sum(-1),
        (drawn(700, 3), drawn(300, 3, seed=1)),
    )


@probe
def loss_of_a_linear_layer():
    """Value and gradients of mean cross-entropy over more rows than a block."""

    def compiled(x, w, b):
        def loss(w, b):
            z = x @ w + b
            return (jax.nn.logsumexp(z, axis=1) - z[:, 0]).mean()

        return jax.grad(loss, argnums=(0, 1))(w, b)

    def by_hand(x, w, b):
        z = x @ w + b
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[:, 0] -= 1
        return x.T @ p / len(x), p.mean(0)

    return compiled, by_hand, (drawn(ROWS, 5), drawn(5, 3, seed=1), drawn(3, seed=2))


@probe
def multiply_then_sum_of_rank_7():
    """jax#40412: crashed."""
    arrays = drawn(3, 1, 2, 2, 8, 8, 8), drawn(3, 1, 2, 2, 8, 8, 8, seed=1)
    return lambda a, b: jnp.sum(a * b, axis=3), lambda a, b: (a * b).sum(3), arrays


@probe
def multiply_then_sum_of_rank_8():
    """jax#39257: crashed or never ended."""

    def f(xp):
        return lambda a, b: xp.log(xp.maximum((a[..., None, None, None, None, None] * b).sum(2), 1e-16))

    arrays = np.abs(drawn(10, 4, 6)), np.abs(drawn(10, 4, 6, 5, 5, 5, 5, 5, seed=1))
    return f(jnp), f(np), arrays


@probe
def moments_far_from_zero():
    def f(xp):
        def moments(x):
            mean = x.mean((0, 1, 2))
            return mean, ((x - mean) ** 2).mean((0, 1, 2))

        return moments

    return f(jnp), f(np), (drawn(64, 16, 16, 3) + np.float32(100),)


@probe
def sum_of_many():
    return lambda x: (x.sum(), x.sum(0)), lambda x: (x.sum(), x.sum(0)), (np.abs(drawn(2**20, 4)),)


@probe
def running_sums_and_order():
    return (
        lambda x: (jnp.cumsum(x, axis=1), jnp.sort(x, axis=1), lax.top_k(x, 5)[0], jnp.argmax(x, axis=1)),
        lambda x: (np.cumsum(x, axis=1), np.sort(x, axis=1), -np.sort(-x, axis=1)[:, :5], np.argmax(x, axis=1)),
        (drawn(300, 257),),
    )


def convolved(x: np.ndarray, k: np.ndarray, stride: int, pad: tuple[int, int]) -> np.ndarray:
    """Convolution of NHWC by HWIO, patch by patch."""
    x = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    height, width = ((size - k_size) // stride + 1 for size, k_size in zip(x.shape[1:3], k.shape[:2], strict=True))
    found = np.zeros((len(x), height, width, k.shape[3]), x.dtype)
    for i in range(k.shape[0]):
        for j in range(k.shape[1]):
            part = x[:, i : i + stride * height : stride, j : j + stride * width : stride][:, :height, :width]
            found += np.einsum("nhwc,co->nhwo", part, k[i, j])
    return found


def convolution_with_gradients(size: int, kernel: int, stride: int, pad: tuple[int, int], *, loop: bool = False):
    """The output, and the gradients of the sum of output × g, which are linear and so exact as finite differences."""
    x, k = drawn(8, size, size, 3), drawn(kernel, kernel, 3, 4, seed=1)
    g = drawn(*convolved(x, k, stride, pad).shape, seed=2)

    def one(x, k, g):
        def out(x, k):
            return lax.conv_general_dilated(x, k, (stride, stride), (pad, pad), dimension_numbers=NHWC)

        y, back = jax.vjp(out, x, k)
        return y, *back(g)

    def compiled(x, k, g):
        if not loop:
            return one(x, k, g)
        shapes = jax.eval_shape(one, x, k, g)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return lax.fori_loop(0, 3, lambda i, total: jax.tree.map(lambda a, b: a + b / 3, total, one(x, k, g)), zeros)

    def by_hand(x, k, g):
        dk, dx = np.zeros_like(k), np.zeros((len(x), x.shape[1] + sum(pad), x.shape[2] + sum(pad), x.shape[3]))
        padded = np.pad(x, ((0, 0), pad, pad, (0, 0)))
        height, width = g.shape[1:3]
        for i in range(kernel):
            for j in range(kernel):
                rows, columns = slice(i, i + stride * height, stride), slice(j, j + stride * width, stride)
                dk[i, j] = np.einsum("nhwc,nhwo->co", padded[:, rows, columns], g)
                dx[:, rows, columns] += np.einsum("nhwo,co->nhwc", g, k[i, j])
        dx = dx[:, pad[0] : dx.shape[1] - pad[1], pad[0] : dx.shape[2] - pad[1]]
        return convolved(x, k, stride, pad), dx, dk

    return compiled, by_hand, (x, k, g)


@probe
def convolution():
    return convolution_with_gradients(9, 3, 1, (1, 1))


@probe
def convolution_of_stride_2():
    return convolution_with_gradients(9, 3, 2, (1, 1))


@probe
def convolution_of_an_even_kernel():
    return convolution_with_gradients(10, 4, 3, (0, 2))


@probe
def convolution_in_a_loop():
    return convolution_with_gradients(8, 3, 1, (1, 1), loop=True)


@probe
def convolution_by_group():
    def compiled(x, k):
        return lax.conv_general_dilated(x, k, (1, 1), "VALID", dimension_numbers=NHWC, feature_group_count=4)

    def by_hand(x, k):
        parts = [convolved(x[..., 2 * i : 2 * i + 2], k[..., 3 * i : 3 * i + 3], 1, (0, 0)) for i in range(4)]
        return np.concatenate(parts, -1)

    return compiled, by_hand, (drawn(4, 7, 7, 8), drawn(3, 3, 2, 12, seed=1))


@probe
def convolution_stacked():
    """Several kernels at once, as of several runs."""

    def compiled(x, k):
        return jax.vmap(lambda k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=NHWC))(k)

    return (
        compiled,
        lambda x, k: np.stack([convolved(x, one, 1, (1, 1)) for one in k]),
        (drawn(4, 6, 6, 3), drawn(3, 3, 3, 3, 5, seed=1)),
    )


@probe
def largest_of_windows():
    """Max pooling, and its gradient."""

    def compiled(x, g):
        def pool(x):
            return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

        y, back = jax.vjp(pool, x)
        return y, back(g)[0]

    def by_hand(x, g):
        windows = x.reshape(8, 6, 2, 6, 2, 3).transpose(0, 1, 3, 5, 2, 4).reshape(8, 6, 6, 3, 4)
        hot = np.eye(4)[windows.argmax(-1)] * g[..., None]
        return windows.max(-1), hot.reshape(8, 6, 6, 3, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(x.shape)

    return compiled, by_hand, (drawn(8, 12, 12, 3), drawn(8, 6, 6, 3, seed=1))


@probe
def updates_in_place():
    """A buffer that a loop writes a row of, and reads another of (jax#40101)."""

    def compiled(x):
        def body(i, buffer):
            row = lax.dynamic_index_in_dim(buffer, (7 * i) % 50, keepdims=False) * 0.5 + i
            return lax.dynamic_update_index_in_dim(buffer, row, (3 * i + 1) % 50, 0)

        return lax.fori_loop(0, 200, body, x)

    def by_hand(x):
        x = x.copy()
        for i in range(200):
            x[(3 * i + 1) % 50] = x[(7 * i) % 50] * 0.5 + i
        return x

    return compiled, by_hand, (drawn(50, 33),)


@probe
def updates_of_a_stack():
    """As a stack of runs trains: each in its turn, in a loop within a loop."""

    def compiled(w, x):
        def one(i, w):
            mine = lax.dynamic_index_in_dim(w, i % 5, keepdims=False)
            mine = lax.fori_loop(0, 4, lambda j, m: m - 0.1 * (m @ x[j]) * m, mine)
            return lax.dynamic_update_index_in_dim(w, mine, i % 5, 0)

        return lax.fori_loop(0, 10, one, w)

    def by_hand(w, x):
        w = w.copy()
        for i in range(10):
            for j in range(4):
                w[i % 5] -= 0.1 * (w[i % 5] @ x[j]) * w[i % 5]
        return w

    return compiled, by_hand, (drawn(5, 6), drawn(4, 6, seed=1) / 3)


@probe
def recurrence():
    """tanh(x W + h U) over time, and its gradients against those by hand."""

    def compiled(x, w, u):
        def last(w, u):
            def cell(h, x):
                return jnp.tanh(x @ w + h @ u), None

            return lax.scan(cell, jnp.zeros((x.shape[1], u.shape[0])), x)[0].sum()

        return jax.value_and_grad(last, argnums=(0, 1))(w, u)

    def by_hand(x, w, u):
        hs = [np.zeros((x.shape[1], len(u)))]
        for step in x:
            hs.append(np.tanh(step @ w + hs[-1] @ u))
        dw, du, dh = np.zeros_like(w), np.zeros_like(u), np.ones_like(hs[-1])
        for t in reversed(range(len(x))):
            da = dh * (1 - hs[t + 1] ** 2)
            dw, du, dh = dw + x[t].T @ da, du + hs[t].T @ da, da @ u.T
        return hs[-1].sum(), (dw, du)

    return compiled, by_hand, (drawn(20, 4, 5), drawn(5, 8, seed=1) / 3, drawn(8, 8, seed=2) / 3)


@probe
def attention():
    """Ours, causal, and its gradients (jax#39264: those of a small model aborted)."""

    def compiled(q, k, v, g):
        out, back = jax.vjp(lambda *qkv: attend(*qkv, jnp.tri(9, dtype=bool)), q, k, v)
        return out, *back(g)

    def by_hand(q, k, v, g):
        s = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(q.shape[-1])
        p = np.exp(np.where(np.tri(9, dtype=bool), s, -np.inf))
        p /= p.sum(-1, keepdims=True)
        dp = np.einsum("btnh,bsnh->bnts", g, v)
        ds = p * (dp - (p * dp).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
        dv = np.einsum("bnts,btnh->bsnh", p, g)
        return (
            np.einsum("bnts,bsnh->btnh", p, v),
            np.einsum("bnts,bsnh->btnh", ds, k),
            np.einsum("bnts,btnh->bsnh", ds, q),
            dv,
        )

    return compiled, by_hand, tuple(drawn(3, 9, 2, 4, seed=i) for i in range(4))


@probe
def rows_that_are_gathered():
    """Rows by number, and the gradient, which adds up what is asked for twice."""

    def compiled(table, index, g):
        out, back = jax.vjp(lambda table: table[index], table)
        return out, back(g)[0]

    def by_hand(table, index, g):
        found = np.zeros_like(table)
        np.add.at(found, index, g)
        return table[index], found

    index = np.random.default_rng(3).integers(0, 20, 500).astype(np.int32)
    return compiled, by_hand, (drawn(20, 6), index, drawn(500, 6, seed=1))


@probe
def elementary_functions():
    from scipy import special

    def compiled(x):
        return (
            jnp.exp(x),
            jnp.tanh(x),
            jax.nn.gelu(x, approximate=False),
            jax.nn.sigmoid(x),
            jax.nn.softplus(x),
            jnp.sin(x),
        )

    def by_hand(x):
        gelu = x * special.ndtr(x)
        return np.exp(x), np.tanh(x), gelu, special.expit(x), np.logaddexp(x, 0), np.sin(x)

    return compiled, by_hand, (np.linspace(-5, 5, 10001, dtype=np.float32),)


@probe
def matrices_to_powers():
    """Products of products, as an orthogonalising optimizer takes."""

    def f(g):
        x = g / (g * g).sum() ** 0.5
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
        return x

    return f, f, (drawn(16, 24),)


@probe
def products_in_half_precision():
    """Whole numbers, whose products and sums float32 holds exactly."""
    a, b = (np.random.default_rng(i).integers(-8, 9, (33, 65)).astype(np.float32) for i in (0, 1))

    def compiled(a, b):
        types = [jnp.bfloat16, jnp.float16]
        return [jnp.einsum("ik,jk->ij", a.astype(t), b.astype(t), preferred_element_type=jnp.float32) for t in types]

    return compiled, lambda a, b: [a @ b.T] * 2, (a, b)


def off(found: Any, right: Any) -> float:
    """The largest difference, of each array relative to its largest number; infinite where one is not finite."""
    worst = 0.0
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b)
        assert a.shape == b.shape, (a.shape, b.shape)
        difference = np.abs(a - b).max(initial=0.0) / max(np.abs(b).max(initial=0.0), 1e-30)
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    return worst


def measured(name: str) -> dict[str, Any]:
    """How far a probe is off: compiled, op by op, and compiled in float64."""
    compiled, by_hand, arrays = PROBES[name]()
    doubles = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    right = by_hand(*doubles)
    found = {"name": name}
    with jax.default_matmul_precision("float32"):
        found["compiled"] = off(jax.jit(compiled)(*map(jnp.asarray, arrays)), right)
        found["op by op"] = off(compiled(*map(jnp.asarray, arrays)), right)
        with jax.enable_x64(True):
            found["in float64"] = off(jax.jit(compiled)(*map(jnp.asarray, doubles)), right)
    return found


if __name__ == "__main__":
    devices.initialize(Settings(compile_cache=None))
    for asked in sys.argv[1:] or PROBES:
        print(json.dumps(measured(asked)), flush=True)
