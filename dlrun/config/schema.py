"""The signature of a component is its schema.

One rule holds for every model, activation, norm, initialiser, optimizer, schedule, data source and augmentation:
*positional* parameters are given by the runner, *keyword-only* parameters are the keys of the YAML option. Their
annotations carry type and range (``Annotated[float, Field(ge=0, lt=1)]``); their defaults are the values of keys that
the option's file leaves out. :func:`problems` checks values against such a signature, and says what is wrong.
"""

import copy
import functools
import inspect
import struct
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from dlrun.errors import nearest, show


@dataclass(frozen=True)
class Traced:
    """Marks a number that lives in the training state, as float32: one compiled step serves all its values."""


Count = Annotated[int, Ge(1), Lt(2**31)]
Positive = Annotated[float, Gt(0), Traced()]
NonNegative = Annotated[float, Ge(0), Traced()]
Rate = Annotated[float, Ge(0), Lt(1), Traced()]


@dataclass(frozen=True)
class Key:
    """A key of a component: its type with constraints, and its default (``inspect.Parameter.empty`` where required)."""

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @functools.cached_property
    def traced(self) -> bool:
        """Whether its value lives in the training state."""
        return any(isinstance(m, Traced) for m in _metadata(self.annotation))

    @functools.cached_property
    def section(self) -> bool:
        """Whether it holds keys of its own, those of a dataclass."""
        return inspect.isclass(self.annotation) and is_dataclass(self.annotation)

    @functools.cached_property
    def allowed(self) -> str:
        """What it allows, in words."""
        return allowed(self.annotation)


@functools.cache  # a sweep asks for every run
def keys(component: Callable[..., Any]) -> dict[str, Key]:
    """The keys of a component: its keyword-only parameters, in order. The result is shared: don't change it."""
    # The metaclass of NNX modules hides the signature of their constructors.
    function = component.__init__ if inspect.isclass(component) else component
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    made: dict[str, Any] = {f.name: f.default_factory for f in fields(component)} if is_dataclass(component) else {}
    known = {}
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY:
            default = p.default
            if made.get(p.name, MISSING) is not MISSING:  # a field whose default is made anew each time
                default = made[p.name]()
            known[p.name] = Key(p.name, Any if p.annotation is p.empty else p.annotation, default)
    return known


def paths(component: Callable[..., Any], path: str = "") -> list[str]:
    """The keys of a component and of its sections, each with the section ``path`` in front: ``split.val``."""
    below = {f"{path}.{name}" if path else name: key for name, key in keys(component).items()}
    return [p for at, key in below.items() for p in (paths(key.annotation, at) if key.section else [at])]


def find_problems(
    component: Callable[..., Any], values: dict[str, Any], path: str, elsewhere: Iterable[str] = ()
) -> list[str]:
    """What is wrong with ``values`` as keyword arguments of ``component``, a line each.

    Args:
      component: a callable whose keyword-only parameters are the schema.
      values: plain values by key.
      path: the section that the keys are in, for messages, such as ``optim``; empty for the top level.
      elsewhere: keys with their sections, to name one that an unknown key has the name of.
    """
    known, problems = keys(component), []
    names = ", ".join(known) or "none"
    at = {name: f"{path}.{name}" if path else str(name) for name in [*known, *values]}
    for name in [name for name in values if name not in known]:
        near = nearest(name, known) or nearest(name, [p for p in elsewhere if p.rpartition(".")[2] == name])
        problems.append(f"{at[name]}: unknown key{near}; known: {names}")
    for name, key in known.items():
        if name not in values:
            if key.required:
                problems.append(f"{at[name]}: missing; allowed: {key.allowed}")
        elif not key.section:
            problems += _mismatch(at[name], values[name], key)
        elif isinstance(values[name], dict):
            problems += find_problems(key.annotation, values[name], at[name])
        else:
            problems.append(f"{at[name]}={show(values[name])}: not a section; keys: {', '.join(keys(key.annotation))}")
    return problems


def filled(component: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """``values`` in the order of the signature, with the defaults of the keys that are left out."""
    full = {}
    for name, key in keys(component).items():
        if key.section and isinstance(values.get(name, {}), dict):
            full[name] = filled(key.annotation, values.get(name, {}))
        elif name in values or not key.required:
            full[name] = values[name] if name in values else copy.copy(key.default)
    return full | {name: value for name, value in values.items() if name not in full}


@functools.cache
def _adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter  # here, as importing it takes half of the time of --help

    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True))


def _mismatch(path: str, value: Any, key: Key) -> list[str]:
    annotation, kind, where = key.annotation, "", _wrong(key.annotation, value)
    if where is None and key.traced and _wrong(annotation, _as_float32(value)) is not None:
        where, kind = (), ", in float32"
    if where is None:
        return []
    kind = key.allowed + kind
    for i in where:
        if i >= len(value):  # it is missing
            break
        path, value, annotation = f"{path}[{i}]", value[i], _item(annotation)
        kind = allowed(annotation)
    near = nearest(value, literals(annotation)) if isinstance(value, str) else ""
    return [f"{path}={show(value)}: not allowed{near}; allowed: {kind}"]


def _wrong(annotation: Any, value: Any) -> tuple[int, ...] | None:
    """None where ``value`` is of the type, else the indices of the item that is not; () for the value as a whole."""
    from pydantic_core import to_json

    # Checked as JSON, which has the types that YAML has: a list is taken for a tuple, but a number never for text.
    return _judged(annotation, to_json(value, inf_nan_mode="constants"))


@functools.lru_cache(maxsize=10_000)
def _judged(annotation: Any, text: bytes) -> tuple[int, ...] | None:
    from pydantic import ValidationError

    try:
        _adapter(annotation).validate_json(text)
    except ValidationError as error:
        places = {tuple(i for i in d["loc"] if isinstance(i, int)) for d in error.errors(include_url=False)}
        return places.pop() if len(places) == 1 else ()
    return None


def _as_float32(value: Any) -> Any:
    """What a number becomes in the training state: 1e39 infinity, 1e-50 zero, 0.99999999999 one."""
    if not isinstance(value, float | int):
        return value
    try:
        rounded = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return float("inf")
    return rounded if isinstance(value, float) else value


def _item(annotation: Any) -> Any:
    """The type of a list's or tuple's items, also within ``Annotated`` and unions; ``Any`` of other types."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (list, tuple) and args:
        return args[0]
    if origin in (Annotated, typing.Union, types.UnionType):
        return next((item for a in args if (item := _item(a)) is not Any), Any)
    return Any


def _metadata(annotation: Any) -> list[Any]:
    """All ``Annotated`` metadata of a type, also within unions."""
    if typing.get_origin(annotation) is Annotated:
        base, *own = typing.get_args(annotation)
        return own + _metadata(base)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [m for branch in typing.get_args(annotation) for m in _metadata(branch)]
    return []


def literals(annotation: Any) -> list[str]:
    """The words that a type enumerates with ``Literal``, also within unions."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return [str(a) for a in args]
    return [lit for a in args for lit in literals(a)] if origin not in (None, list, tuple) else []


def allowed(annotation: Any) -> str:
    """What a type allows, in words: ``a number in [0, 1)``, ``null, or a whole number >= 1``."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        for m in args[1:]:
            if getattr(m, "description", None):
                return m.description
        return _ranged(allowed(args[0]), _bounds(args[1:]))
    if origin in (typing.Union, types.UnionType):
        names = [allowed(a) for a in args]
        return " or ".join(dict.fromkeys(names))
    if origin is Literal:
        return ", ".join(show(a) for a in args)
    if origin in (list, tuple):
        inner = [a for a in args if a is not ...]
        return f"a list, each item {allowed(inner[0])}" if inner else "a list"
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", Any: "anything"}
    names[type(None)] = "null"
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bounds(metadata: Iterable[Any]) -> dict[str, Any]:
    """The limits in a type's metadata, by their names: ``ge``, ``gt``, ``le``, ``lt``."""
    limits: dict[str, Any] = {}
    for m in metadata:
        for item in getattr(m, "metadata", None) or [m]:
            for bound in ("ge", "gt", "le", "lt"):
                if getattr(item, bound, None) is not None:
                    limits[bound] = getattr(item, bound)
    return limits


def _ranged(kind: str, bounds: dict[str, Any]) -> str:
    # Limits that come from the size of integers are written as powers.
    shown = {k: {2**31: "2^31", 2**32: "2^32"}.get(v, str(v)) for k, v in bounds.items()}
    lower, upper = shown.get("ge", shown.get("gt")), shown.get("le", shown.get("lt"))
    if lower is not None and upper is not None:
        return f"{kind} in {'[' if 'ge' in bounds else '('}{lower}, {upper}{']' if 'le' in bounds else ')'}"
    if lower is not None:
        return f"{kind} {'>=' if 'ge' in bounds else '>'} {lower}"
    if upper is not None:
        return f"{kind} {'<=' if 'le' in bounds else '<'} {upper}"
    return kind
