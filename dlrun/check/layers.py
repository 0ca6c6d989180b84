"""Lists the layers of a model with output shape, parameters and operations of each, and what a step costs."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
from flax import nnx
from jax import Array
from jax.extend import core
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dlrun.check.calls import Call, calls
from dlrun.config.choice import Choice
from dlrun.display.units import prefixed
from dlrun.nn.norms import Identity
from dlrun.program import step
from dlrun.program.nonfinite import dotted
from dlrun.program.setup import Setup

BATCH = 7919  # examples, to trace shapes: a prime, so that only the batch has a dimension of this size


@dataclass(frozen=True)
class Layer:
    """A module of a model, or a parameter beside modules.

    Args:
      name: its path below the layer that it is a part of.
      kind: the name of its class.
      output: shape of its output without the batch's dimension, such as ``28x28x16``; empty if it is never called.
      parameters: how many numbers are trained in it and its parts.
      operations: floating-point operations per example of its calls in evaluation; a call inside a loop counts once.
      inner: its parts, in the order of their calls.
      times: how many equal layers in a row this one stands for.
    """

    name: str
    kind: str
    output: str
    parameters: int
    operations: int = 0
    inner: tuple["Layer", ...] = ()
    times: int = 1


class Function(nnx.Module):
    """An activation function as a module, so that its calls are recorded like those of modules."""

    def __init__(self, function: Choice):
        self.function = function

    def __call__(self, x: Array) -> Array:
        return self.function(x)


def show(setup: Setup) -> None:
    """Prints the table of layers, and what the model and a training step cost.

    On a terminal it fits the width; elsewhere it is plain text.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    table = Table(box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for title in ("layer", "kind", "output", "parameters", "operations"):
        table.add_column(title, justify="left" if title in ("layer", "kind") else "right", overflow="fold")
    for depth, layer in flattened(layers(setup)):
        held = f"{layer.parameters:,}" if layer.parameters else ""
        work = prefixed(layer.operations, "FLOP") if layer.operations else ""
        if layer.times > 1:
            held, work = (f"{layer.times} x {text}".rstrip() for text in (held, work))
        style = "bold" if depth == 0 else "" if layer.inner else "dim"
        table.add_row("  " * depth + layer.name, layer.kind, layer.output, held, work, style=style)
    console.print(table)
    if not console.is_terminal:
        console.print()
    size = setup.plan.settings.batch_size
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(setup.shapes))
    forward, training = costs(setup)
    for what, text in {
        "parameters": f"{setup.parameter_count:,}: {prefixed(4 * setup.parameter_count, 'iB', 1024)} in float32",
        "training state": f"{prefixed(state, 'iB', 1024)}: parameters, statistics, optimizer",
        "forward pass": f"{prefixed(forward, 'FLOP')} per example",
        "training step": f"{prefixed(training, 'FLOP')}, batch_size={size}",
    }.items():
        console.print(f"{what:<16}{text}", soft_wrap=True)


def layers(setup: Setup) -> tuple[Layer, ...]:
    """The layers of the model, in the order in which its forward pass calls them. Only shapes are computed."""
    traced: list[Layer] = []

    def trace(params: nnx.State, variables: nnx.State, x: Array) -> None:
        params, x = step.cast_floats((params, x), setup.program.dtype)
        model = nnx.merge(setup.graphdef, params, variables, copy=True)
        model.eval()
        for _, module in list(nnx.iter_modules(model)):
            for key, value in list(vars(module).items()):
                if isinstance(value, Choice):
                    setattr(module, key, nnx.data(Function(value)))
        traced.extend(of_calls(model, calls(model, x)))

    jax.eval_shape(trace, setup.shapes.params, setup.shapes.variables, setup.examples(BATCH))
    return _folded(traced)


def costs(setup: Setup) -> tuple[float, float]:
    """Floating-point operations of a forward pass in evaluation, per example, and of a training step, per batch."""
    program, graphdef, shapes = setup.program, setup.graphdef, setup.shapes
    size = setup.plan.settings.batch_size
    batch = {"x": setup.examples(size), "y": setup.targets(size)}
    forward = partial(step.forward, program, graphdef, train=False)
    training = partial(step.train_step, program, graphdef)
    return operations(forward, shapes.params, shapes.variables, batch["x"]) / size, operations(training, shapes, batch)


def operations(function: Callable[..., Any], *args: Any) -> float:
    """Floating-point operations of a call, as XLA counts them before it optimises; a multiply-add is two.

    XLA counts the body of a loop once. For ``jax.lax.scan``, whose length is known, the others are added here.
    """
    traced = jax.jit(function).trace(*args)
    return _cost(traced.lower()) + _further(traced.jaxpr.jaxpr)


def _further(jaxpr: core.Jaxpr) -> float:
    """Operations of the scans in a program, for all iterations but those that XLA counts."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name != "scan":
            total += sum(map(_further, core.jaxprs_in_params(equation.params)))
            continue
        body, length, unroll = (equation.params[key] for key in ("jaxpr", "length", "unroll"))
        # XLA's loop does ``unroll`` steps per iteration; the steps left over at the end are outside the loop.
        if again := (length // unroll - 1) * unroll if 0 < unroll < length else 0:
            total += again * _cost(jax.jit(core.jaxpr_as_fun(body)).lower(*body.in_avals))
        total += length * _further(body.jaxpr)
    return total


def _cost(lowered: Any) -> float:
    analysis = lowered.cost_analysis() or lowered.compile().cost_analysis()  # some devices know only after compiling
    return float((analysis or {}).get("flops", 0))


def of_calls(model: nnx.Module, called: list[Call]) -> list[Layer]:
    """The outermost layers of a model, each with its parts, from the recorded calls of its modules."""
    outputs = {call.path: call.output for call in called}
    modules = {path: m for path, m in nnx.iter_modules(model) if not path or callable(m)}
    modules = {path: m for path, m in modules.items() if not isinstance(m, Identity)}
    order = {path: number for number, path in enumerate(outputs)}

    def inside(outer: tuple[Any, ...]) -> list[Layer]:
        below = [path for path in modules if path[: len(outer)] == outer and path != outer]
        nearest = [path for path in below if not any(path[: len(p)] == p != path for p in below)]
        nearest.sort(key=lambda path: order.get(dotted(path), len(order)))
        own = [] if not nearest else [(k, v) for k, v in vars(modules[outer]).items() if isinstance(v, nnx.Param)]
        return [Layer(k, "Param", _shape(v[...]), v[...].size) for k, v in own] + [
            layer(p, dotted(p[len(outer) :])) for p in nearest
        ]

    def layer(path: tuple[Any, ...], below: str) -> Layer:
        module = modules[path]
        kind = module.function.name if isinstance(module, Function) else type(module).__name__
        held = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
        work = sum(_work(call) for call in called if call.path == dotted(path))
        return Layer(below, kind, _shape(outputs.get(dotted(path))), held, work, _folded(inside(path)))

    return inside(())


def _work(call: Call) -> int:
    """Floating-point operations of a call, per example; 0 for a module that can't be called by itself."""
    graphdef, state = nnx.split(call.module)
    leaves, tree = jax.tree.flatten((state, call.inputs))
    shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, Array) else x for x in leaves)
    try:
        return _work_of(graphdef, tree, shapes)
    except Exception:  # a user's module may fail in any way
        return 0


@functools.cache  # many layers of a model have equal shapes
def _work_of(graphdef: Any, tree: Any, leaves: tuple[Any, ...]) -> int:
    def run(arrays: list[Array]) -> Any:
        given = iter(arrays)
        both = [next(given) if isinstance(x, jax.ShapeDtypeStruct) else x for x in leaves]
        state, (args, kwargs) = jax.tree.unflatten(tree, both)
        return nnx.merge(graphdef, state)(*args, **kwargs)

    return round(operations(run, [x for x in leaves if isinstance(x, jax.ShapeDtypeStruct)]) / BATCH)


def _shape(output: Any) -> str:
    """Shapes without the batch's dimension: ``28x28x16``; those of several arrays are joined by commas."""
    shapes = [leaf.shape[leaf.shape[:1] == (BATCH,) :] for leaf in jax.tree.leaves(output)]
    return ", ".join("x".join("batch" if n == BATCH else str(n) for n in shape) or "1" for shape in shapes)


def _folded(layers: list[Layer]) -> tuple[Layer, ...]:
    """Joins consecutive layers of a list that differ in their index alone into one: ``blocks.1-8``."""
    folded: list[Layer] = []
    for layer in layers:
        stem, _, number = layer.name.rpartition(".")
        last = folded[-1] if folded else layer
        before, _, numbers = last.name.rpartition(".")
        if folded and number.isdecimal() and before == stem and replace(last, name=layer.name, times=1) == layer:
            folded[-1] = replace(last, name=f"{stem}.{numbers.split('-')[0]}-{number}", times=last.times + 1)
        else:
            folded.append(layer)
    return tuple(folded)


def flattened(layers: tuple[Layer, ...], depth: int = 0) -> Iterator[tuple[int, Layer]]:
    """Each layer with its depth, followed by its parts."""
    for layer in layers:
        yield depth, layer
        yield from flattened(layer.inner, depth + 1)
