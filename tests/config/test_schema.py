"""Signatures as schemas: what they allow, what they refuse, and how they word it."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from dlrun.config.schema import Count, Key, NonNegative, Positive, Rate, Traced, filled, find_problems, keys
from dlrun.errors import Unfit, nearest, show


@dataclass(frozen=True, kw_only=True)
class Section:
    size: Count = 3
    names: list[str] = field(default_factory=lambda: ["a"])


class Component:
    def __init__(
        self,
        given,
        *,
        needed: int,
        lr: Positive = 0.1,
        rate: Rate | None = None,
        decay: NonNegative = 0.0,
        widths: list[Count] = [1, 2],  # noqa: B006
        pair: tuple[int, int] = (1, 2),
        kind: Literal["big", "small"] = "big",
        on: bool = True,
        name: str | None = None,
        ratio: Annotated[float, Field(gt=0, le=2)] = 1.0,
        free=None,
    ): ...


def wrong(**values: Any) -> list[str]:
    return find_problems(Component, {"needed": 1, **values}, "group")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", 1), ("lr", 3.4e38), ("lr", 1e-45), ("rate", None), ("rate", 0), ("decay", 0.0), ("widths", []),
        ("widths", [3]), ("widths", (4, 5)), ("pair", [1, 2]), ("kind", "small"), ("on", False), ("name", None),
        ("name", "text"), ("ratio", 2), ("free", {"any": ["thing"]}), ("widths", [2**31 - 1]),
    ],
)  # fmt: skip
def test_allowed(key: str, value: Any) -> None:
    assert wrong(**{key: value}) == []


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("lr", 0, "group.lr=0: not allowed; allowed: a number > 0"),
        ("lr", "0.1", "group.lr=0.1: not allowed; allowed: a number > 0"),
        ("lr", True, "group.lr=true: not allowed; allowed: a number > 0"),
        ("lr", float("nan"), "group.lr=nan: not allowed; allowed: a number > 0"),
        ("lr", 1e39, "group.lr=1e+39: not allowed; allowed: a number > 0, in float32"),
        ("lr", 1e-46, "group.lr=1e-46: not allowed; allowed: a number > 0, in float32"),
        ("lr", None, "group.lr=null: not allowed; allowed: a number > 0"),
        ("rate", 1 - 1e-12, "group.rate=0.999999999999: not allowed; allowed: a number in [0, 1) or null, in float32"),
        ("decay", -1, "group.decay=-1: not allowed; allowed: a number >= 0"),
        ("widths", [1, "a"], "group.widths[1]=a: not allowed; allowed: a whole number in [1, 2^31)"),
        ("widths", 3, "group.widths=3: not allowed; allowed: a list, each item a whole number in [1, 2^31)"),
        ("widths", [2**31], "group.widths[0]=2147483648: not allowed; allowed: a whole number in [1, 2^31)"),
        ("widths", [-1, 0], "group.widths=[-1, 0]: not allowed; allowed: a list, each item a whole number in "
            "[1, 2^31)"),
        ("kind", "smal", "group.kind=smal: not allowed (did you mean 'small'?); allowed: big, small"),
        ("on", 1, "group.on=1: not allowed; allowed: true or false"),
        ("name", 3, "group.name=3: not allowed; allowed: text or null"),
        ("ratio", 2.5, "group.ratio=2.5: not allowed; allowed: a number in (0, 2]"),
        ("widht", 3, "group.widht: unknown key (did you mean 'widths'?); known: needed, lr, rate, decay, widths, pair, "
         "kind, on, name, ratio, free"),
        ("given", 3, "group.given: unknown key"),
        ("lr", "x" * 90, f"group.lr={'x' * 57}...: not allowed; allowed: a number > 0"),
        ("lr", "two\nlines", "group.lr=two\\nlines: not allowed; allowed: a number > 0"),
    ],
)  # fmt: skip
def test_refused(key: str, value: Any, says: str) -> None:
    (problem,) = wrong(**{key: value})
    assert problem.startswith(says)


def test_missing_and_several() -> None:
    assert find_problems(Component, {"lr": -1, "on": 3}, "g") == [
        "g.needed: missing; allowed: a whole number",
        "g.lr=-1: not allowed; allowed: a number > 0",
        "g.on=3: not allowed; allowed: true or false",
    ]


def test_sections() -> None:
    def component(*, part: Section = Section()): ...

    assert find_problems(component, {"part": {"size": 0, "x": 1}}, "") == [
        "part.x: unknown key; known: size, names",
        "part.size=0: not allowed; allowed: a whole number in [1, 2^31)",
    ]
    assert find_problems(component, {"part": 3}, "") == ["part=3: not a section; keys: size, names"]
    assert filled(component, {}) == {"part": {"size": 3, "names": ["a"]}}
    assert filled(component, {"part": {"names": []}}) == {"part": {"size": 3, "names": []}}
    assert filled(Section, {})["names"] is not filled(Section, {})["names"]  # nobody shares the default


def test_filled_keeps_what_is_given_and_leaves_out_what_is_required() -> None:
    values = filled(Component, {"lr": 3, "unknown": 1})
    assert values["lr"] == 3
    assert values["unknown"] == 1
    assert values["kind"] == "big"
    assert "needed" not in values


@given(st.floats(width=64))
def test_numbers_of_the_state_are_checked_as_what_they_become(value: float) -> None:
    with np.errstate(over="ignore"):
        kept = np.float32(value)
    accepted = find_problems(lambda *, lr: None, {}, "") and not wrong(lr=value)
    assert accepted == bool(np.isfinite(kept) and kept > 0)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x, max_size=3))
)
def test_any_value_gives_a_line_or_none(value: Any) -> None:
    for key in ("lr", "rate", "widths", "pair", "kind", "on", "name", "ratio"):
        for problem in wrong(**{key: value}):
            assert problem.startswith(f"group.{key}")
            assert problem.isprintable()
            assert len(problem) < 250


def test_traced_looks_through_unions() -> None:
    known = keys(Component)
    assert [k for k, key in known.items() if key.traced] == ["lr", "rate", "decay"]
    assert Key("x", Annotated[float, Traced()] | None, 1.0).traced
    assert known["needed"].required


def test_unfit_names_the_whole_path() -> None:
    assert Unfit("heads", 5, "divide the width 64").at("model") == "model.heads=5: must divide the width 64"
    assert Unfit(".norm", None, "be there").at("model") == "norm=null: must be there"


def test_words() -> None:
    assert show({"a": [1, None], "b": True}) == "{a: [1, null], b: true}"
    assert nearest("widht", ["width", "depth"]) == " (did you mean 'width'?)"
    assert nearest("qqq", ["width"]) == ""


KNOWN = ("act", "optim", "batch_size", "seed", "eval.every", "log.every", "optim.lr", "optim.weight_decay", "gelu")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("GELU", "gelu"), ("Optim.LR", "optim.lr"), ("batch-size", "batch_size"), ("lr", "optim.lr"),
        ("every", "eval.every or log.every"), ("sede", "seed"), ("weight_decya", "optim.weight_decay"),
        ("optimizer", "optim"), ("batch", "batch_size"), ("learning_rate", "optim.lr"), ("bs", "batch_size"),
        ("x", ""), ("momentum", ""), ("", ""),
    ],
)  # fmt: skip
def test_names_that_may_be_meant(asked: str, found: str) -> None:
    quoted = " or ".join(f"'{name}'" for name in found.split(" or ")) if found else ""
    assert nearest(asked, KNOWN) == (f" (did you mean {quoted}?)" if found else "")
