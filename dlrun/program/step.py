"""The pure functions that are compiled: ``init``, ``train_step``, ``eval_step``, and loops of them on the device.

Choices (model, optimizer, schedule, precision …) are in a :class:`Program`, which is compiled in; numbers (learning
rate, dropout rate, seed …) are arrays in :class:`TrainState`. So one compilation serves every value of a number, and
the states of several runs can be stacked.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from dlrun.optim.loss_scale import LossScale
from dlrun.program.program import Program, section
from dlrun.program.state import TrainState

Batch = dict[str, Array]
"""Inputs ``x`` and targets ``y``. A mixture of two examples also has ``other``, the second one's target, and ``share``,
the weight of the first. With a teacher, ``teacher`` has its arrays, or after augmentation its outputs."""
Sums = dict[str, Array]
"""What an evaluation adds up over examples, by name."""
Metrics = dict[str, dict[str, Array]]
"""``sum`` has what is added up over steps, the ``count`` of steps among it; ``last`` has values of the latest step."""


def init(program: Program, seed: Array, numbers: dict[str, Array]) -> tuple[nnx.GraphDef, TrainState]:
    """The state before the first step, and the model's structure."""
    key = jax.random.key(seed)
    graphdef, params, variables = nnx.split(program.build(key, numbers), nnx.Param, ...)
    state = TrainState(
        step=jnp.int32(0),
        params=params,
        variables=variables,
        opt_state=program.optimizer(numbers, jnp.float32(0)).init(params),
        ema=params if "ema" in numbers else None,
        loss_scale=LossScale.start() if program.dtype == jnp.float16 else None,
        skipped=jnp.int32(0),
        key=jax.random.fold_in(key, 2),
        numbers=numbers,
    )
    return graphdef, state


def forward(
    program: Program, graphdef: nnx.GraphDef, params: nnx.State, variables: nnx.State, x: Array, *, train: bool
) -> tuple[Array, nnx.State]:
    """The model's outputs in float32, and its variables other than parameters after the pass."""
    params, x = cast_floats((params, x), program.dtype)
    model = nnx.merge(graphdef, params, variables, copy=True)
    (model.train if train else model.eval)()
    precision = program.matmul_precision if program.dtype == jnp.float32 else None
    with jax.default_matmul_precision(precision):  # the backward pass keeps it
        outputs = model(x)  # pyright: ignore[reportCallIssue]
    return outputs.astype(jnp.float32), nnx.state(model, nnx.Not(nnx.Param))


def augmented(program: Program, state: TrainState, batch: Batch) -> Batch:
    """The batch of the state's step after augmentation; with a teacher, also the teacher's outputs for it."""
    given = {k: v for k, v in batch.items() if k != "teacher"}
    key = jax.random.fold_in(state.key, state.step)
    given = program.augment(key, given, **section(state.numbers, "augment"))
    if program.teacher is None:
        return given
    return {**given, "teacher": jax.lax.stop_gradient(program.teacher(batch["teacher"], given["x"]))}


def cast_floats(tree: Any, dtype: Any) -> Any:
    """A tree with its floating-point arrays cast to ``dtype``; integers, such as tokens, stay."""
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def losses(program: Program, outputs: Array, batch: Batch, numbers: dict[str, Array], *, train: bool) -> Array:
    """The loss of each example, shape (B,); for a mixture of two examples, the mixture of the losses for both targets.

    In evaluation, labels are not smoothed, so that the losses of different runs can be compared.
    """
    loss = partial(program.loss, **section(numbers, "loss"))
    smoothing = numbers["label_smoothing"] if train else 0.0

    def against(targets: Array) -> Array:
        return loss(outputs, (targets, batch["teacher"]) if "teacher" in batch else targets, smoothing)

    if "other" not in batch:
        return against(batch["y"])
    return batch["share"] * against(batch["y"]) + (1 - batch["share"]) * against(batch["other"])


def train_step(program: Program, graphdef: nnx.GraphDef, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One optimizer step on ``batch``: standardised ``x``, ``y``, and ``teacher``, the arrays of a teacher, if any."""
    numbers = state.numbers
    batch = augmented(program, state, batch)
    scale = 1.0 if state.loss_scale is None else state.loss_scale.scale

    def loss_fn(params, variables, part):
        outputs, variables = forward(program, graphdef, params, variables, part["x"], train=True)
        loss = losses(program, outputs, part, numbers, train=True).mean()
        metrics = {k: f(outputs, part["y"]).mean() for k, f in program.task.metrics.items()}
        return loss * scale, (variables, metrics | {"loss": loss})

    def gradient(params):  # some optimizers, such as sam, ask for it at other parameters as well
        grads, (variables, means) = gradients(loss_fn, params, state.variables, batch, program)
        grads = jax.tree.map(lambda g: g / scale, grads)
        norm = optax.tree.norm(grads)
        if "clip_norm" in numbers:
            grads = jax.tree.map(lambda g: g * jnp.minimum(1, numbers["clip_norm"] / (norm + 1e-12)), grads)
        return grads, norm, variables, means

    grads, norm, variables, means = gradient(state.params)
    lr = program.schedule(state.step, numbers["total_steps"], numbers["optim.lr"], **section(numbers, "schedule"))
    lr *= numbers.get("lr_scale", 1)
    optimizer = optax.with_extra_args_support(program.optimizer(numbers, lr))
    with jax.default_matmul_precision(program.matmul_precision):
        updates, opt_state = optimizer.update(
            grads, state.opt_state, state.params, grad_fn=lambda params, i: gradient(params)[0]
        )
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema is not None:  # the decay rises to its value, so that the average forgets the initial weights
        decay = jnp.minimum(numbers["ema"], (1 + state.step) / (10 + state.step))
        ema = optax.incremental_update(params, ema, 1 - decay)

    new = replace(state, params=params, variables=variables, opt_state=opt_state, ema=ema)
    finite = jnp.isfinite(means["loss"]) & jnp.isfinite(norm) & all_finite(nnx.filter_state(variables, nnx.BatchStat))
    after = guarded(state, new, finite)
    counted = (finite & (after.step > state.step)).astype(jnp.float32)
    sums = {k: jnp.where(counted > 0, v, 0) for k, v in (means | {"grad_norm": norm}).items()}
    return after, {"sum": sums | {"count": counted}, "last": {"lr": lr}}


def gradients(loss_fn: Callable, params: nnx.State, variables: nnx.State, batch: Batch, program: Program):
    """The gradient of a batch's mean loss, and with it the model's variables after the pass and the mean metrics.

    The batch is computed in ``program.accumulate`` parts, one after the other.
    """
    grad_fn = jax.grad(loss_fn, has_aux=True)
    if program.accumulate == 1:
        return grad_fn(params, variables, batch)

    def part(carry, piece):
        variables, total = carry
        grads, (variables, means) = grad_fn(params, variables, piece)
        return (variables, jax.tree.map(jnp.add, total, (grads, means))), None

    pieces = jax.tree.map(lambda a: a.reshape(program.accumulate, -1, *a.shape[1:]), batch)
    shapes = jax.eval_shape(grad_fn, params, variables, jax.tree.map(lambda a: a[0], pieces))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (shapes[0], shapes[1][1]))
    (variables, total), _ = jax.lax.scan(part, (variables, zeros), pieces, unroll=not program.loop)
    grads, means = jax.tree.map(lambda a: a / program.accumulate, total)
    return grads, (variables, means)


def guarded(old: TrainState, new: TrainState, finite: Array) -> TrainState:
    """``new`` if the step was finite, else ``old`` (batch statistics included) with the step counted as skipped.

    A step whose overflow a smaller loss scale can cure is not counted. Once more than ``max_skipped`` steps were
    skipped, the state no longer changes: it stays the last finite one, at the step that failed.
    """
    counts = ~finite if old.loss_scale is None else ~finite & (old.loss_scale.scale <= 1)
    limit = old.numbers["max_skipped"]
    skipped = jnp.where(old.skipped > limit, old.skipped, old.skipped + counts)
    over = skipped > limit
    kept = jax.tree.map(partial(jnp.where, finite & ~over), new, old)
    scale = None if old.loss_scale is None else old.loss_scale.after(finite)
    return replace(
        kept,
        step=jnp.where(over, old.step, old.step + 1),
        skipped=skipped,
        loss_scale=jax.tree.map(partial(jnp.where, over), old.loss_scale, scale),
    )


def all_finite(tree: Any) -> Array:
    """Whether every number in a tree is finite, bool ()."""
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)] or [True]))


def take(data: Batch, index: Array) -> Batch:
    """The rows of ``data`` at ``index``, standardised by its ``mean`` and ``std`` where it has them."""
    x, y = data["x"][index], data["y"][index]
    if "mean" in data:
        x = (x.astype(jnp.float32) - data["mean"]) / data["std"]
    batch = {"x": x, "y": y.astype(jnp.int32) if jnp.issubdtype(y.dtype, jnp.integer) else y}
    return {**batch, "teacher": data["teacher"]} if "teacher" in data else batch


def train_steps(
    program: Program,
    graphdef: nnx.GraphDef,
    state: TrainState,
    totals: Metrics,
    data: Batch,
    order: Array,
    start: Array,
    count: Array,
) -> tuple[TrainState, Metrics]:
    """Trains steps ``start`` up to ``start + count`` of an epoch (``count`` is 1 where ``program.loop`` is false).

    Args:
      totals: the metrics of the steps so far.
      data: a table that holds the rows (:data:`dlrun.data.feed.Table`).
      order: row numbers of each batch of the epoch, shape (steps, batch size).
    """

    def body(i, carry):
        state, totals = carry
        state, metrics = train_step(program, graphdef, state, take(data, order[i]))
        return state, {"sum": jax.tree.map(jnp.add, totals["sum"], metrics["sum"]), "last": metrics["last"]}

    if not program.loop:
        return body(start, (state, totals))
    return jax.lax.fori_loop(start, start + count, body, (state, totals))


def eval_step(program: Program, graphdef: nnx.GraphDef, state: TrainState, batch: Batch, mask: Array) -> Sums:
    """Sums over the examples where ``mask`` is 1, by name: of the loss, the metrics and the task's counts.

    ``count`` is the number of examples, ``nonfinite`` that of each kind which :func:`nonfinite` tells apart. An example
    whose outputs or loss are not finite counts as wrong by every metric: the largest of its outputs means nothing.
    """

    def masked(a: Array) -> Array:  # not a product: 0 times NaN is NaN
        return jnp.where(jnp.expand_dims(mask, range(1, a.ndim)) > 0, a, jnp.zeros_like(a))

    params = state.params if state.ema is None else state.ema
    outputs, _ = forward(program, graphdef, params, state.variables, batch["x"], train=False)
    outputs, batch = masked(outputs), {**batch, "y": masked(batch["y"])}
    loss = losses(program, outputs, batch, state.numbers, train=False)
    bad = nonfinite(batch, outputs, loss) & (mask > 0)
    each = {k: jnp.where(bad[:2].any(0), 0, f(outputs, batch["y"])) for k, f in program.task.metrics.items()}
    sums = {k: masked(v).sum() for k, v in (each | {"loss": loss}).items()}
    counts = {k: f(outputs, batch["y"], mask) for k, f in program.task.counts.items()}
    return sums | counts | {"count": mask.sum(), "nonfinite": bad.sum(1)}


def nonfinite(batch: Batch, outputs: Array, loss: Array) -> Array:
    """Three kinds of examples, bool (3, B): outputs not finite; only the loss not finite; either, and inputs too.

    For classes, an output of -inf is allowed: it rules the class out, and the loss shows whether that was right.
    """

    def any_not(finite: Array) -> Array:
        return ~finite.reshape(len(loss), -1).all(1)

    classes = jnp.issubdtype(batch["y"].dtype, jnp.integer)
    of_outputs = any_not(jnp.isfinite(outputs) | (jnp.isneginf(outputs) & classes))
    of_loss = ~jnp.isfinite(loss) & ~of_outputs
    return jnp.stack([of_outputs, of_loss, any_not(jnp.isfinite(batch["x"])) & (of_outputs | of_loss)])


def eval_steps(
    program: Program,
    graphdef: nnx.GraphDef,
    state: TrainState,
    totals: Sums,
    data: Batch,
    order: Array,
    start: Array,
    count: Array,
) -> Sums:
    """Adds the sums of batches ``start`` up to ``start + count`` of ``order`` to ``totals``; rows of -1 are padding."""

    def body(i, totals):
        index = order[i]
        mask = (index >= 0).astype(jnp.float32)
        batch = take(data, jnp.maximum(index, 0))
        return jax.tree.map(jnp.add, totals, eval_step(program, graphdef, state, batch, mask))

    if not program.loop:
        return body(start, totals)
    return jax.lax.fori_loop(start, start + count, body, totals)
