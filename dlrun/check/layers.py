"""The layers of a model on its data: what each gives out and holds, and what a step costs."""

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
from dlrun.nn.norms import Identity
from dlrun.program import step
from dlrun.program.nonfinite import dotted
from dlrun.program.setup import Setup

BATCH = 7919  # examples while shapes are traced: a dimension of this size is that of the batch


@dataclass(frozen=True)
class Layer:
    """A module of a model, or a parameter beside modules.

    Args:
      name: its path below the layer that it is a part of.
      kind: its class.
      output: shape of what it gives out, without the batch's dimension; empty for what is never called.
      parameters: how many numbers are trained in it and its parts.
      operations: floating-point operations of its calls in evaluation, an example; of a call in a loop those of a turn.
      inner: its parts, in the order of their calls.
      times: how many such layers follow one another.
    """

    name: str
    kind: str
    output: str
    parameters: int
    operations: int = 0
    inner: tuple["Layer", ...] = ()
    times: int = 1


class Function(nnx.Module):
    """An activation function as a module, so that its calls are seen like those of modules."""

    def __init__(self, function: Choice):
        self.function = function

    def __call__(self, x: Array) -> Array:
        return self.function(x)


def show(setup: Setup) -> None:
    """Prints the table of layers, and what the model and a step of its training cost.

    On a terminal it fits the width; elsewhere it is plain text.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    table = Table(box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for title in ("layer", "kind", "output", "parameters", "operations"):
        table.add_column(title, justify="left" if title in ("layer", "kind") else "right", overflow="fold")
    for depth, layer in _rows(layers(setup)):
        held = f"{layer.parameters:,}" if layer.parameters else ""
        work = _unit(layer.operations, 1000, "FLOP") if layer.operations else ""
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
        "parameters": f"{setup.parameters:,}: {_unit(4 * setup.parameters, 1024, 'iB')} in float32",
        "training state": f"{_unit(state, 1024, 'iB')}: parameters, statistics, optimizer",
        "forward pass": f"{_unit(forward, 1000, 'FLOP')} an example",
        "training step": f"{_unit(training, 1000, 'FLOP')}, batch_size={size}",
    }.items():
        console.print(f"{what:<16}{text}", soft_wrap=True)


def layers(setup: Setup) -> tuple[Layer, ...]:
    """The parts of the model, as its forward pass calls them. Nothing is computed."""
    found: list[Layer] = []

    def trace(params: nnx.State, variables: nnx.State, x: Array) -> None:
        params, x = step.halved((params, x), setup.program.dtype)
        model = nnx.merge(setup.graphdef, params, variables, copy=True)
        model.eval()
        for _, module in list(nnx.iter_modules(model)):
            for key, value in list(vars(module).items()):
                if isinstance(value, Choice):
                    setattr(module, key, nnx.data(Function(value)))
        found.extend(_layers(model, calls(model, x)))

    jax.eval_shape(trace, setup.shapes.params, setup.shapes.variables, setup.examples(BATCH))
    return _folded(found)


def costs(setup: Setup) -> tuple[float, float]:
    """Floating-point operations of a forward pass in evaluation, an example, and of a training step, a batch."""
    program, graphdef, shapes = setup.program, setup.graphdef, setup.shapes
    size = setup.plan.settings.batch_size
    batch = {"x": setup.examples(size), "y": setup.targets(size)}
    forward = partial(step.forward, program, graphdef, train=False)
    training = partial(step.train_step, program, graphdef)
    return operations(forward, shapes.params, shapes.variables, batch["x"]) / size, operations(training, shapes, batch)


def operations(function: Callable[..., Any], *args: Any) -> float:
    """Floating-point operations of a call by XLA's count, before it optimises; a multiply-add is two.

    XLA counts the body of a loop once. The other turns are added here where their number is known: of ``jax.lax.scan``.
    """
    traced = jax.jit(function).trace(*args)
    return _cost(traced.lower()) + _further(traced.jaxpr.jaxpr)


def _further(jaxpr: core.Jaxpr) -> float:
    """Operations of all turns but the first of the loops in a program."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name != "scan":
            total += sum(map(_further, core.jaxprs_in_params(equation.params)))
            continue
        body, length, unroll = (equation.params[key] for key in ("jaxpr", "length", "unroll"))
        # The loop's body holds ``unroll`` steps, and those that are left over at the end stand outside.
        if again := (length // unroll - 1) * unroll if 0 < unroll < length else 0:
            total += again * _cost(jax.jit(core.jaxpr_as_fun(body)).lower(*body.in_avals))
        total += length * _further(body.jaxpr)
    return total


def _cost(lowered: Any) -> float:
    found = lowered.cost_analysis() or lowered.compile().cost_analysis()  # not every device knows without compiling
    return float((found or {}).get("flops", 0))


def _layers(model: nnx.Module, called: list[Call]) -> list[Layer]:
    """The layers of a model, outermost ones with their parts, from the calls of its modules."""
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
    """Floating-point operations of a call, an example."""
    graphdef, state = nnx.split(call.module)
    leaves, tree = jax.tree.flatten((state, call.inputs))
    shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, Array) else x for x in leaves)
    try:
        return _work_of(graphdef, tree, shapes)
    except Exception:  # of one's own, that can't be called alone
        return 0


@functools.cache  # a model has many layers of one form
def _work_of(graphdef: Any, tree: Any, leaves: tuple[Any, ...]) -> int:
    def run(arrays: list[Array]) -> Any:
        given = iter(arrays)
        both = [next(given) if isinstance(x, jax.ShapeDtypeStruct) else x for x in leaves]
        state, (args, kwargs) = jax.tree.unflatten(tree, both)
        return nnx.merge(graphdef, state)(*args, **kwargs)

    return round(operations(run, [x for x in leaves if isinstance(x, jax.ShapeDtypeStruct)]) / BATCH)


def _shape(output: Any) -> str:
    """``28x28x16``; of several arrays with commas between."""
    shapes = [leaf.shape[leaf.shape[:1] == (BATCH,) :] for leaf in jax.tree.leaves(output)]
    return ", ".join("x".join("batch" if n == BATCH else str(n) for n in shape) or "1" for shape in shapes)


def _folded(layers: list[Layer]) -> tuple[Layer, ...]:
    """Consecutive layers of a list that differ in their numbers alone as one: ``blocks.1-8``."""
    found: list[Layer] = []
    for layer in layers:
        stem, _, number = layer.name.rpartition(".")
        last = found[-1] if found else layer
        before, _, numbers = last.name.rpartition(".")
        if found and number.isdecimal() and before == stem and replace(last, name=layer.name, times=1) == layer:
            found[-1] = replace(last, name=f"{stem}.{numbers.split('-')[0]}-{number}", times=last.times + 1)
        else:
            found.append(layer)
    return tuple(found)


def _rows(layers: tuple[Layer, ...], depth: int = 0) -> Iterator[tuple[int, Layer]]:
    for layer in layers:
        yield depth, layer
        yield from _rows(layer.inner, depth + 1)


def _unit(number: float, base: int, unit: str) -> str:
    """Three digits with the prefix that fits: ``1.04 MiB``, ``12.3 GFLOP``."""
    power = 0
    while number >= 999.5 and power < 5:
        number, power = number / base, power + 1
    return f"{number:.3g} {('', 'k' if base == 1000 else 'K', 'M', 'G', 'T', 'P')[power]}{unit}"
