"""The signature of a component is its schema.

One rule holds for every model, activation, norm, initialiser, optimizer, schedule, data source and augmentation:
*positional* parameters are given by the runner, *keyword-only* parameters are the keys of the YAML option. Their
annotations carry type and range (``Annotated[float, Field(ge=0, lt=1)]``), their defaults the value when the option's
file leaves the key out. :func:`problems` holds values against such a signature and words what is wrong for people.
"""

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

__all__ = [
    "Count",
    "InvalidConfig",
    "Key",
    "NonNegative",
    "Positive",
    "Rate",
    "Traced",
    "Unfit",
    "keys",
    "nearest",
    "problems",
]


@dataclass(frozen=True)
class Traced:
    """Marks a number that lives in the training state: one compiled step serves every value of it."""


Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0), Traced()]
NonNegative = Annotated[float, Field(ge=0), Traced()]
Rate = Annotated[float, Field(ge=0, lt=1), Traced()]


class InvalidConfig(Exception):
    """Everything that is wrong with what the user asked for: one line a problem."""

    def __init__(self, problems: Iterable[str]):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class Unfit(ValueError):
    """Raised by a component whose values do not fit the data or each other.

    Args:
      key: the offending key, relative to the component (``heads``), or absolute with a leading dot (``.norm``).
      value: its value.
      allowed: what would be allowed, to follow the word "must": "divide the width 64".
    """

    def __init__(self, key: str, value: Any, allowed: str):
        self.key, self.value, self.allowed = key, value, allowed
        super().__init__(f"{key}={show(value)} must {allowed}")

    def at(self, group: str) -> str:
        """The problem as one line, with the key's full path."""
        path = self.key[1:] if self.key.startswith(".") else f"{group}.{self.key}"
        return f"{path}={show(self.value)}: must {self.allowed}"


@dataclass(frozen=True)
class Key:
    """One key of an option: its type with constraints, and its default (``inspect.Parameter.empty`` when required)."""

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def traced(self) -> bool:
        return any(isinstance(m, Traced) for m in _metadata(self.annotation))

    @property
    def allowed(self) -> str:
        return allowed(self.annotation)


def keys(component: Callable[..., Any]) -> dict[str, Key]:
    """The keys of a component: its keyword-only parameters, in order."""
    # A module class has a metaclass that hides the signature of its constructor.
    function = component.__init__ if inspect.isclass(component) else component
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    return {
        p.name: Key(p.name, Any if p.annotation is p.empty else p.annotation, p.default)
        for p in parameters
        if p.kind is p.KEYWORD_ONLY
    }


def problems(component: Callable[..., Any], values: dict[str, Any], path: str) -> list[str]:
    """What is wrong with ``values`` as keyword arguments of ``component``; empty when nothing is.

    Args:
      component: a callable whose keyword-only parameters are the schema.
      values: plain values by key.
      path: the key's prefix in messages, such as ``optim``; empty for the top level.
    """
    known, found = keys(component), []
    for name in values:
        if name not in known:
            full = f"{path}.{name}" if path else name
            found.append(f"{full}: unknown key{nearest(name, known)}; known: {', '.join(known) or 'none'}")
    for name, key in known.items():
        full = f"{path}.{name}" if path else name
        if name not in values:
            if key.required:
                found.append(f"{full}: missing; allowed: {key.allowed}")
        elif typing.is_typeddict(section := key.annotation) or inspect.isclass(section) and hasattr(section, "__dataclass_fields__"):
            if isinstance(values[name], dict):
                found += problems(section, values[name], full)
            else:
                found.append(f"{full}={show(values[name])}: not a section; keys: {', '.join(keys(section))}")
        else:
            found += _mismatch(full, values[name], key.annotation)
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the closest known name, or nothing."""
    match = get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return f" (did you mean '{match[0]}'?)" if match else ""


def show(value: Any) -> str:
    """A value as the user would type it, shortened."""
    text = {True: "true", False: "false", None: "null"}.get(value, None) if isinstance(value, bool | None) else None
    text = text or str(value)
    return text if len(text) <= 60 else text[:57] + "..."


@functools.lru_cache(maxsize=None)
def _adapter(annotation: Any) -> TypeAdapter:
    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))


def _mismatch(path: str, value: Any, annotation: Any) -> list[str]:
    try:
        _adapter(annotation).validate_python(value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        # A union reports each of its branches; the whole value against the whole type says it in one line.
        where = {d["loc"] for d in details}
        at = "".join(f"[{i}]" for i in details[0]["loc"] if isinstance(i, int)) if len(where) == 1 else ""
        bad = details[0]["input"] if at else value
        reason = f"{path}{at}={show(bad)}: not allowed; allowed: {allowed(annotation)}"
        options = _literals(annotation)
        return [reason + (nearest(str(value), options) if options else "")]
    return []


def _metadata(annotation: Any) -> list[Any]:
    """All ``Annotated`` metadata of a type, looking through unions."""
    if typing.get_origin(annotation) is Annotated:
        base, *found = typing.get_args(annotation)
        return found + _metadata(base)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [m for branch in typing.get_args(annotation) for m in _metadata(branch)]
    return []


def _literals(annotation: Any) -> list[str]:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return [str(a) for a in args]
    return [lit for a in args for lit in _literals(a)] if origin else []


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
        return f"a list of ({allowed(inner[0])})" if inner else "a list"
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", type(None): "null"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bounds(metadata: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for m in metadata:
        for item in getattr(m, "metadata", None) or [m]:
            for bound in ("ge", "gt", "le", "lt"):
                if getattr(item, bound, None) is not None:
                    found[bound] = getattr(item, bound)
    return found


def _ranged(kind: str, bounds: dict[str, Any]) -> str:
    lower, upper = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if lower is not None and upper is not None and not math.isinf(upper):
        return f"{kind} in {'[' if 'ge' in bounds else '('}{lower}, {upper}{']' if 'le' in bounds else ')'}"
    if lower is not None:
        return f"{kind} {'>=' if 'ge' in bounds else '>'} {lower}"
    if upper is not None:
        return f"{kind} {'<=' if 'le' in bounds else '<'} {upper}"
    return kind
