"""Conditions on runs: what they mean, what is refused in one line, and that nothing else ever happens."""

import json
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrun.errors import InvalidConfig, nearest, show
from dlrun.runs.condition import parse

VALUES = {
    "act.name": "gelu", "optim.lr": 0.01, "seed": 3, "status": "completed", "log.plot": True, "model.widths": [16, 32],
    "log.sinks": ["csv", "wandb"], "checkpoint.metric": None, "start": "2026-11-23T05:22:39+0000", "val/accuracy": 0.9,
    "eval.every": "1epoch", "note": "it's a test, and more", "and": 1,
}  # fmt: skip


class Fake:
    def value(self, name: str):
        return VALUES.get(name)


def column(name: str) -> str:
    for full in (name, f"{name}.name"):
        if full in VALUES or full == "absent":
            return full
    raise InvalidConfig([f"{show(name)}: no such column{nearest(name, VALUES)}"])


def holds(text: str) -> bool:
    return parse(text, column)(Fake())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("act=gelu", True), ("act.name == gelu", True), ("act='gelu'", True), ("act=relu", False), ("act!=relu", True),
        ("optim.lr=1e-2", True), ("optim.lr<0.01", False), ("optim.lr<=.01", True), ("optim.lr>1e-3", True),
        ("seed>=3.0", True), ("seed=3", True), ("seed='3'", True), ("seed=03", True), ("seed=true", False),
        ("log.plot=true", True), ("log.plot=1", False), ("log.plot!=false", True), ("log.plot>0", False),
        ("checkpoint.metric=null", True), ("checkpoint.metric!=null", False), ("checkpoint.metric<1", False),
        ("absent=null", True), ("absent!=3", True), ("absent<3", False), ("absent>3", False), ("absent=0", False),
        ("model.widths=[16,32]", True), ("model.widths=[ 16, 32 ]", True), ("model.widths='[16, 32]'", True),
        ("model.widths=[16]", False), ("log.sinks=[csv,wandb]", True), ("log.sinks=['csv', 'wandb']", True),
        ("act in relu,gelu", True), ("act in (relu, gelu)", True), ("act in [relu, 'gelu']", True),
        ("act in (relu)", False), ("act in []", False), ("seed in (1, 2, 3) and act=relu", False),
        ("val/accuracy>0.85", True),
        ("eval.every=1epoch", True), ('note="it\'s a test, and more"', True), (r"note='it\'s a test, and more'", True),
        ("'and'=1", True), ("not act=relu", True), ("not not act=relu", False), ("NOT act=relu AND seed=3", True),
        ("act=relu and seed=0 or seed=3", True), ("act=relu and (seed=0 or seed=3)", False),
        ("seed=3 or act=relu and seed=0", True), ("not (act=relu or seed=3)", False),
        ("not act=relu and seed=0", False),
        ("  seed = 3\n", True), ("(((seed=3)))", True), ("seed<abc", False), ("act<3", False), ("seed=1e400", False),
    ],
)  # fmt: skip
def test_what_a_condition_means(text: str, expected: bool):
    assert holds(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # 2026-11-23T05:22:39+0000 is 2026-11-22T21:22:39 in California.
        ("start>2026-11-22", True), ("start<2026-11-23", True), ("start>2026-11-22T21:22:38", True),
        ("start>=2026-11-22T21:22:39", True), ("start>2026-11-22T21:22:39", False), ("start<'2026-11-22 21:23'", True),
        ("start>2026-11-23T05:22:38Z", True), ("start<2026-11-23T06:22:38+0100", False), ("start>2026", True),
        ("start=2026-11-23T06:22:39+01:00", True), ("start!=2026-11-23T05:22:39z", False), ("start<2026-11", False),
        ("start in (2026-11-22, 2026-11-22T21:22:39)", True), ("start in [2026-11-22]", False),
        ("start=null", False), ("start!=null", True), ("end=null", True), ("end<2026-11-23", False),
        ("summer>2026", False), ("note>2026", True),  # text of other columns stays text
    ],
)  # fmt: skip
def test_times_are_instants(text: str, expected: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    try:
        full = lambda name: name if name in ("end", "summer") else column(name)  # noqa: E731
        assert parse(text, full)(Fake()) is expected
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("told", ["yesterday", "", "2026-02-30T10:00:00+0000", "9" * 400, 7, [1]])
def test_a_time_that_is_none_is_before_and_after_nothing(told):
    class One:
        def value(self, name: str):
            return told

    relations = {sign: parse(f"start{sign}2026-11-23", column)(One()) for sign in ("<", ">", "=", "!=")}
    assert relations == {"<": False, ">": False, "=": False, "!=": True}


@pytest.mark.parametrize("value", ["yesterday", "2026-13-01", "2026-02-30", "12", "true", "'null'", "2026-11-23T25"])
@pytest.mark.parametrize("sign", [">", "=", "!=", "in"])
def test_what_is_no_time_is_told(value: str, sign: str):
    with pytest.raises(InvalidConfig) as error:
        parse(f"start {sign} {value}", column)
    said = value.strip("'")
    allowed = "a time such as 2026-11-23, 2026-11-23T05:22 or 2026-11-23T05:22:39, local unless Z or +01:00 follows"
    assert error.value.problems == [f"where: start: {said!r}: not allowed; allowed: {allowed}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the end: expected the name of a column"),
        ("optim.lrr<0.01", "optim.lrr: no such column (did you mean 'optim.lr'?)"),
        ("seed", "the end after 'seed': expected =, ==, !=, <, <=, >, >=, in"),
        ("seed=", "the end after 'seed=': expected a value"),
        ("seed=3 act=relu", "'act' after 'seed=3': expected and, or"),
        ("seed=3 and", "the end after 'seed=3 and': expected the name of a column"),
        ("seed=3 and or act=relu", "'or' after 'seed=3 and': expected the name of a column"),
        ("(seed=3", "the end after '(seed=3': expected and, or, )"),
        ("seed=3)", "')' after 'seed=3': expected and, or"),
        ("act in (relu", "the end after 'act in (relu': expected a comma or )"),
        ("act in", "the end after 'act in': expected a value"),
        ("0.001<seed<3", "0.001: no such column"),
        ("seed<2<3", "'<' after 'seed<2': expected and, or"),
        ("seed=<3", "'<' after 'seed=': expected a value"),
        ("act='gelu", '"\'gelu": not closed'),
        ("model.widths=[16", "'[16': not closed"),
        ("seed!3", "'!3': '!' is not part of a condition"),
        ("(" * 100_000 + "seed=3", "more than 50 nested parentheses or nots"),
        ("not " * 100_000 + "seed=3", "more than 50 nested parentheses or nots"),
        ("__import__('os').system('true')=1", "__import__: no such column"),
    ],
)
def test_what_is_none_is_told_in_a_line(text: str, said: str):
    with pytest.raises(InvalidConfig) as error:
        parse(text, column)
    (line,) = error.value.problems
    assert line.startswith(f"where: {said}")
    assert "\n" not in line
    assert len(line) < 250


def test_long_conditions():
    assert holds(" or ".join(["seed=0"] * 20_000 + ["seed=3"]))
    assert not holds(" and ".join(["seed=3"] * 20_000 + ["seed=0"]))


PIECES = st.sampled_from(
    ["seed", "act", "optim.lr", "nonsense",
     "=", "==", "!=", "<", ">=", "in", "and", "or", "not", "(", ")", "[", "]", ",",
     "3", "0.5", "gelu", "null", "true", "'", '"', "\\", "\n", "é", "[1,2]", "'a b'"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES).map(" ".join), st.lists(PIECES).map("".join)))
def test_any_text_is_a_condition_or_refused(text: str):
    problems = []
    try:
        assert holds(text) in (True, False)
    except InvalidConfig as error:
        problems = error.problems
    assert len(problems) < 2
    assert "\n" not in "".join(problems)


BARE = string.ascii_letters + string.digits + "._-/"
COMPARED = st.tuples(st.sampled_from(["seed", "act", "status", "absent"]), st.sampled_from(["=", "!=", "<", ">="]),
                     st.one_of(st.integers(-5, 5), st.sampled_from(["gelu", "completed", "z"])))  # fmt: skip
TREE = st.recursive(
    COMPARED,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=4)),
    ),
    max_leaves=12,
)  # fmt: skip


def written(tree) -> str:
    if tree[0] == "not":
        return f"not ({written(tree[1])})"
    if tree[0] in ("and", "or"):
        return "(" + f" {tree[0]} ".join(map(written, tree[1])) + ")"
    return "".join(map(str, tree))


def judged(tree) -> bool:
    """The same by Python."""
    if tree[0] == "not":
        return not judged(tree[1])
    if tree[0] in ("and", "or"):
        return (all if tree[0] == "and" else any)(map(judged, tree[1]))
    name, sign, value = tree
    found = VALUES.get(column(name))
    if sign in ("=", "!="):
        return (found == value) == (sign == "=")
    if type(found) is str:
        value = str(value)
    elif type(found) is not type(value):
        return False
    return found < value if sign == "<" else found >= value


@given(TREE)
def test_and_or_not_mean_what_they_do_in_python(tree):
    assert holds(written(tree)) is judged(tree)


@given(st.text())
def test_any_text_can_be_quoted(text: str):
    class One:
        def value(self, name: str):
            return text

    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse(f"seed={quoted}", column)(One())


@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(BARE, min_size=1))))
def test_a_list_equals_itself_as_json(values: list):
    class One:
        def value(self, name: str):
            return values

    assert parse(f"seed={json.dumps(values)}", column)(One())
