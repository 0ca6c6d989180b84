"""Estimates the memory that a computation's intermediate arrays take, from its jaxpr: nothing is compiled or run."""

from collections.abc import Iterator
from typing import Any

import jax

from dlrun.system import environment

SHARE = 1 / 8
"""The part of the memory that an evaluation may take; states, data and other programs need the rest."""
LOOPS = ("scan", "while")


def room(devices: int) -> int:
    """Bytes that an evaluation may take on this many devices: :data:`SHARE` of their memory.

    It does not depend on how much is free at the moment, so that a repeated run evaluates as many at a time.
    """
    device = jax.local_devices()[0]
    stats = {} if device.platform == "cpu" else device.memory_stats() or {}
    whole = stats["bytes_limit"] * devices if "bytes_limit" in stats else environment.memory() * jax.process_count()
    return int(SHARE * whole)


def peak(jaxpr: Any) -> int:
    """The most bytes of arrays that live at once, each from where it is made to where it is last read.

    Arguments are not counted. XLA needs less: it fuses elementwise operations into what reads their results.
    """
    ends: dict[Any, int] = {}
    for i, equation in enumerate(jaxpr.eqns):
        ends |= dict.fromkeys((*equation.outvars, *filter(_variable, equation.invars)), i)
    ends |= dict.fromkeys(filter(_variable, jaxpr.outvars), len(jaxpr.eqns))
    made: dict[Any, int] = {}
    live = most = 0
    for i, equation in enumerate(jaxpr.eqns):
        new = {v: v.aval.size * v.aval.dtype.itemsize for v in equation.outvars}
        within = max(map(peak, _inner(equation.params.values())), default=0)  # a body's results are the equation's
        loop = equation.primitive.name in LOOPS
        most = max(most, live + (sum(new.values()) + within if loop else max(sum(new.values()), within)))
        made |= new
        live += sum(new.values())
        for variable in {v for v in (*equation.outvars, *filter(_variable, equation.invars)) if ends[v] == i}:
            live -= made.pop(variable, 0)
    return most


def _variable(atom: Any) -> bool:
    return not hasattr(atom, "val")  # only a literal has a value


def _inner(values: Any) -> Iterator[Any]:
    """The computations inside an equation: bodies of loops, branches, functions that it calls."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _inner(value)
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif hasattr(value, "eqns"):
            yield value
