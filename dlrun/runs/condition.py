"""A condition on runs: ``model.name=resnet and optim.lr<0.01 and not status in (failed, diverged)``.

    condition  = all {"or" all}
    all        = one {"and" one}
    one        = "not" one | "(" condition ")" | name relation value | name "in" values
    relation   = "=" | "==" | "!=" | "<" | "<=" | ">" | ">="
    values     = value {"," value} | "(" value {"," value} ")" | "[" value {"," value} "]"

A name is that of a column: a key of the configuration, ``status``, or a metric. A value is a number, ``true``,
``false``, ``null``, a list such as ``[16,32]``, or text, which needs quotes if it has blanks or signs. Numbers are
compared by size, ``start`` and ``end`` as points in time, other text alphabetically; anything else can only be equal or
not. A run without the key equals only ``null``, and is neither below nor above anything. No text is ever evaluated as
code.
"""

import json
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from dlrun.errors import InvalidConfig, show
from dlrun.runs.times import ALLOWED, TIMES, instant

__all__ = ["Condition", "Valued", "parse"]

DEEPEST = 50  # parentheses within parentheses
ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
RELATIONS = ("=", "==", "!=", *ORDER, "in")
TOKEN = re.compile(
    r"""\s*(?: (?P<quoted> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
          | (?P<list> \[ [^\[\]]* \] )
          | (?P<sign> == | != | <= | >= | [=<>(),] )
          | (?P<word> [^\s=!<>(),"'\[\]]+ ) )""",
    re.VERBOSE | re.DOTALL,
)


class Valued(Protocol):
    """What a condition can be checked on: it has a value, or None, for the name of each column."""

    def value(self, name: str, /) -> Any: ...


Condition = Callable[[Valued], bool]


def parse(text: str, column: Callable[[str], str]) -> Condition:
    """Reads a condition.

    Args:
      text: as above.
      column: returns the full name of a column, and raises :class:`InvalidConfig` for an unknown one.

    Raises:
      InvalidConfig: if the text is no condition; the message says what was expected and where.
    """
    return _Parser(text, column).whole()


@dataclass(frozen=True)
class _Token:
    """A word, sign or value, and where it begins."""

    kind: str
    text: str
    at: int

    @property
    def plain(self) -> str:
        """Its text without quotes and their backslashes."""
        return re.sub(r"\\(.)", r"\1", self.text[1:-1], flags=re.DOTALL) if self.kind == "quoted" else self.text

    def says(self, *words: str) -> bool:
        return self.kind in ("word", "sign") and self.text.lower() in words


class _Parser:
    """Reads from left to right; each rule of the grammar is a method."""

    def __init__(self, text: str, column: Callable[[str], str]):
        self.text, self.column, self.depth = text, column, 0
        self.tokens: list[_Token] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                unclosed = text[at] in "\"'["
                self.wrong(f"{text[at:]!r}: {'not closed' if unclosed else f'{text[at]!r} is not part of a condition'}")
            self.tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            at = match.end()
        self.tokens.append(_Token("end", "", end))
        self.next = 0

    def wrong(self, what: str) -> NoReturn:
        raise InvalidConfig([f"where: {what}; such as: model.name=resnet and optim.lr<0.01"])

    def expected(self, what: str) -> NoReturn:
        token = self.tokens[self.next]
        before = show(self.text[: token.at].rstrip()[-30:])
        found = f"{show(token.text)!r} after {before!r}" if token.kind != "end" else f"the end after {before!r}"
        self.wrong(f"{found if before else found.split(' after ')[0]}: expected {what}")

    def take(self, *words: str) -> str | None:
        """Moves past the next token if it is one of these words or signs, and returns it in lower case; else None."""
        token = self.tokens[self.next]
        if not token.says(*words):
            return None
        self.next += 1
        return token.text.lower()

    def whole(self) -> Condition:
        condition = self.any_of()
        if self.tokens[self.next].kind != "end":
            self.expected("and, or")
        return condition

    def any_of(self) -> Condition:
        parts = [self.all_of()]
        while self.take("or"):
            parts.append(self.all_of())
        return parts[0] if len(parts) == 1 else lambda run: any(part(run) for part in parts)

    def all_of(self) -> Condition:
        parts = [self.one()]
        while self.take("and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else lambda run: all(part(run) for part in parts)

    def one(self) -> Condition:
        self.depth += 1
        if self.depth > DEEPEST:
            self.wrong(f"more than {DEEPEST} nested parentheses or nots")
        if self.take("not"):
            inner = self.one()
            condition: Condition = lambda run: not inner(run)  # noqa: E731
        elif self.take("("):
            condition = self.any_of()
            if not self.take(")"):
                self.expected("and, or, )")
        else:
            condition = self.comparison()
        self.depth -= 1
        return condition

    def comparison(self) -> Condition:
        token = self.tokens[self.next]
        if token.kind not in ("word", "quoted") or token.says("and", "or", "in"):
            self.expected("the name of a column")
        try:
            name = self.column(token.plain)
        except InvalidConfig as error:
            raise InvalidConfig([f"where: {problem}" for problem in error.problems]) from None
        self.next += 1
        sign = self.take(*RELATIONS)
        if sign is None:
            self.expected(", ".join(RELATIONS))
        converted = _instant if name in TIMES else lambda told: told
        if sign == "in":
            values = self.timed(name, self.values())
            return lambda run: any(_equal(converted(run.value(name)), value) for value in values)
        (value,) = self.timed(name, [self.value()])
        if sign in ORDER:
            holds = ORDER[sign]
            return lambda run: _ordered(holds, converted(run.value(name)), value)
        return lambda run: _equal(converted(run.value(name)), value) == (sign != "!=")

    def timed(self, name: str, values: "list[_Value]") -> "list[_Value]":
        """The values to compare with a column: for a column of times, as points in time."""
        if name not in TIMES:
            return values
        for value in values:
            if value.meant is not None and instant(value.text) is None:
                raise InvalidConfig([f"where: {name}: {show(value.text)!r}: not allowed; allowed: {ALLOWED}"])
        return [value if value.meant is None else _Value(value.text, instant(value.text)) for value in values]

    def values(self) -> "list[_Value]":
        token = self.tokens[self.next]
        if token.kind == "list":
            self.next += 1
            return [_value(word.strip().strip("\"'")) for word in token.text[1:-1].split(",") if word.strip()]
        closed = self.take("(")
        listed = [self.value()]
        while self.take(","):
            listed.append(self.value())
        if closed and not self.take(")"):
            self.expected("a comma or )")
        return listed

    def value(self) -> "_Value":
        token = self.tokens[self.next]
        if token.kind not in ("word", "quoted", "list") or token.says("and", "or", "not", "in"):
            self.expected("a value")
        self.next += 1
        return _value(token.plain, quoted=token.kind == "quoted")


@dataclass(frozen=True)
class _Value:
    """A value as it was typed, and its meaning as JSON; text stands for itself."""

    text: str
    meant: Any


def _value(text: str, quoted: bool = False) -> _Value:
    words = {"true": True, "false": False, "null": None, "none": None}
    if quoted:
        return _Value(text, text)
    if text.lower() in words:
        return _Value(text, words[text.lower()])
    try:
        return _Value(text, float(text))
    except ValueError:
        return _Value(text, text)


def _instant(told: Any) -> Any:
    """A time as seconds; NaN for other text, as that equals nothing that can be typed."""
    return None if told is None else math.nan if (found := instant(told)) is None else found


def _equal(actual: Any, value: _Value) -> bool:
    if isinstance(actual, str):
        return actual == value.text
    if isinstance(actual, bool) or isinstance(value.meant, bool | None) or actual is None:
        return actual is value.meant
    return actual == value.meant or _squeezed(json.dumps(actual)) == _squeezed(value.text)


def _ordered(holds: Callable[[Any, Any], bool], actual: Any, value: _Value) -> bool:
    if isinstance(actual, bool):
        return False
    if isinstance(actual, int | float) and isinstance(value.meant, float):
        return holds(actual, value.meant)
    return isinstance(actual, str) and holds(actual, value.text)


def _squeezed(text: str) -> str:
    """Text without blanks and quotes: one list can be written in several ways."""
    return re.sub(r"[\s\"']", "", text)
