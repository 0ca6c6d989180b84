"""How much memory a computation takes for what it makes on the way, told from its trace: nothing is compiled or run."""

from collections.abc import Iterator
from typing import Any

import jax

from dlrun.system import environment

SHARE = 1 / 8
"""Of the memory, for what an evaluation makes on the way; states, data and what else runs there have the rest."""
LOOPS = ("scan", "while")


def room(devices: int) -> int:
    """Bytes that an evaluation may take on so many devices: :data:`SHARE` of what they have.

    It does not depend on what is free at the moment, so that runs repeat.
    """
    device = jax.local_devices()[0]
    stats = {} if device.platform == "cpu" else device.memory_stats() or {}
    whole = stats["bytes_limit"] * devices if "bytes_limit" in stats else environment.memory() * jax.process_count()
    return int(SHARE * whole)


def peak(jaxpr: Any) -> int:
    """Bytes of the arrays that live at once at most, from where each is made to where it is last read; no arguments.

    XLA keeps fewer: what is elementwise becomes part of what reads it.
    """
    ends: dict[Any, int] = {}
    for i, equation in enumerate(jaxpr.eqns):
        ends |= dict.fromkeys((*equation.outvars, *filter(_variable, equation.invars)), i)
    ends |= dict.fromkeys(filter(_variable, jaxpr.outvars), len(jaxpr.eqns))
    made: dict[Any, int] = {}
    live = most = 0
    for i, equation in enumerate(jaxpr.eqns):
        new = {v: v.aval.size * v.aval.dtype.itemsize for v in equation.outvars}
        within = max(map(peak, _inner(equation.params.values())), default=0)  # its results are the equation's own
        loop = equation.primitive.name in LOOPS
        most = max(most, live + (sum(new.values()) + within if loop else max(sum(new.values()), within)))
        made |= new
        live += sum(new.values())
        for variable in {v for v in (*equation.outvars, *filter(_variable, equation.invars)) if ends[v] == i}:
            live -= made.pop(variable, 0)
    return most


def _variable(atom: Any) -> bool:
    return not hasattr(atom, "val")  # a literal has its value


def _inner(values: Any) -> Iterator[Any]:
    """The computations within an equation: bodies of loops, branches, functions that are called."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _inner(value)
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif hasattr(value, "eqns"):
            yield value
