"""A user's own table: cells, features learnt from training rows alone, targets, and all that can be wrong with it."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from dlrun.config.settings import Splitting
from dlrun.data import batches
from dlrun.data.dataset import Dataset, Rows, cut
from dlrun.data.features import Category, Number, TableEncoder, inputs
from dlrun.data.readers import cells
from dlrun.data.sources.table import table
from dlrun.errors import Unfit
from tests.conftest import QUICK

PEOPLE = """name,age,colour,married,children,bought
a,31,red,true,0,yes
b,,blue,false,2,no
c,27.5,red,NA,1,yes
d,40,,true,0,no
e,33,green,false,3,yes
f,29,red,true,?,no
"""
PLAIN = "data.target=bought"


def written(text: str, name: str = "t.csv") -> str:
    Path(name).write_text(text)
    return name


def load(text: str = PEOPLE, target: str = "bought", **options: Any) -> Dataset:
    return table(path=written(text), target=target, **options)


def many(rows: int = 60, header: str = "a,b,colour,y", seed: int = 0) -> str:
    """A table whose class hangs on all its columns."""
    random = np.random.default_rng(seed)
    lines = [header]
    for _ in range(rows):
        a, b, colour = random.normal(), random.normal(), random.integers(0, 3)
        cells = f"{a:.4f}" if random.random() < 0.9 else "", f"{1e9 + b:.4f}", ("red", "blue", "green")[colour]
        lines.append(",".join([*cells, "yes" if a + b + colour > 1 else "no"]))
    return "\n".join(lines) + "\n"


# Cells


def test_columns_are_numbers_or_names() -> None:
    data = load()
    assert data.train.x.tolist() == [
        ["a", 31, "red", "true", 0], ["b", pytest.approx(math.nan, nan_ok=True), "blue", "false", 2],
        ["c", 27.5, "red", None, 1], ["d", 40, None, "true", 0], ["e", 33, "green", "false", 3],
        ["f", 29, "red", "true", pytest.approx(math.nan, nan_ok=True)],
    ]  # fmt: skip
    assert data.classes == ("no", "yes")
    assert data.train.y.tolist() == [1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_dialects(delimiter: str, end: str) -> None:
    text = "\ufeff" + PEOPLE.replace(",", delimiter).replace("\n", end).replace("red", f'"r{delimiter} {end}""d"""')
    Path("t.csv").write_bytes(text.encode())
    found = cells.read(Path("t.csv"))
    assert list(found.columns) == ["name", "age", "colour", "married", "children", "bought"]
    assert found.columns["colour"].tolist() == [
        r.replace("red", f'r{delimiter} {end}"d"') if r else r for r in ("red", "blue", "red", None, "green", "red")
    ]


def test_parquet_is_the_same_as_csv() -> None:
    columns = {
        "name": list("abcdef"),
        "age": pyarrow.array([31, None, 27.5, 40, 33, 29]),
        "colour": pyarrow.array(["red", "blue", "red", None, "green", "red"]).dictionary_encode(),
        "married": [True, False, None, True, False, True],
        "children": pyarrow.array([0, 2, 1, 0, 3, None], pyarrow.int64()),
        "bought": ["yes", "no"] * 3,
    }
    parquet.write_table(pyarrow.table(columns), "t.parquet")
    one, other = load(), table(path="t.parquet", target="bought")
    assert [list(map(str, row)) for row in one.train.x] == [list(map(str, row)) for row in other.train.x]
    assert (one.classes, one.train.y.tolist()) == (other.classes, other.train.y.tolist())
    one, other = (
        cut(table(path=p, target="bought", categorical=["children"]), Splitting(val=1, test=1)).encoder.facts()
        for p in ("t.csv", "t.parquet")
    )
    assert one == other


def test_parquet_of_other_types() -> None:
    columns = {
        "day": pyarrow.array([1, 2, 3, 4], pyarrow.int32()).cast(pyarrow.date32()),
        "price": pyarrow.array(["1.50", "2.25", None, "3.00"]).cast(pyarrow.decimal128(5, 2)),
        "y": pyarrow.array([1, 1, 2, 2], pyarrow.uint8()),
    }
    parquet.write_table(pyarrow.table(columns), "t.pq")
    x = table(path="t.pq", target="y").train.x
    assert x[:, 0].tolist() == ["1970-01-02", "1970-01-03", "1970-01-04", "1970-01-05"]
    np.testing.assert_array_equal(x[:, 1].astype(float), [1.5, 2.25, math.nan, 3])


def test_text_of_parquet_keeps_its_blanks() -> None:
    columns = {"n": [" 1", "2.5 ", " "] * 8, "c": ["1", " 1", " NA"] * 8, "y": [" 1", "1"] * 12, "r": [" 1", "20"] * 12}
    parquet.write_table(pyarrow.table(columns), "t.pq")
    data = table(path="t.pq", target="y", categorical=["c"])
    assert data.classes == (" 1", "1")
    assert data.train.x[:3].tolist() == [[1, "1", 1], [2.5, " 1", 20], [pytest.approx(np.nan, nan_ok=True), None, 1]]
    padded = table(path="t.pq", target="r", drop=["c"])
    assert (padded.task, padded.classes) == ("classification", ("1", "20")), "set to the right"


def test_dropped_and_categorical_columns() -> None:
    data = load(drop=["name", "age"], categorical=["children"])
    assert data.train.x[:, 2].tolist() == ["0", "2", "1", "0", "3", None]
    assert data.train.x.shape == (6, 3)
    unnamed = ",a,y\n" + "".join(f"{i},{i / 7},{i % 2}\n" for i in range(8))
    assert load(unnamed, "y", drop=[""]).train.x.shape == (8, 1)


# Targets


@pytest.mark.parametrize(
    ("cells", "task", "classes"),
    [
        ("b a b a c c", "classification", ("a", "b", "c")),
        ("true false true false true false", "classification", ("false", "true")),
        ("10 2 10 2 2 2.0", "classification", ("2", "10")),
        ("1 2 3 4 5 6", "regression", ("y",)),
        ("0.5 0.5 1 1 0.5 1", "regression", ("y",)),
    ],
)
def test_the_task_follows_from_the_target(cells: str, task: str, classes: tuple[str, ...]) -> None:
    text = "x,y\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells.split()))
    data = load(text, "y")
    assert (data.task, data.classes) == (task, classes)
    if task == "regression":
        assert (data.train.y.dtype, data.train.y.shape) == (np.float64, (6, 1))


def test_the_task_can_be_said() -> None:
    text = "x,y\n" + "".join(f"{i},{i % 2 + 1}\n" for i in range(6))
    assert load(text, "y").classes == ("1", "2")
    np.testing.assert_array_equal(load(text, "y", task="regression").train.y, [[1], [2]] * 3)
    assert load(text.replace("1\n", "1.5\n"), "y", task="classification").classes == ("1.5", "2")


def test_a_file_to_test_on() -> None:
    tests = written("bought,colour,extra,children,married,age,name\nyes,violet,1,2,true,50,z\n", "test.csv")
    data = cut(load(test_path=tests), Splitting(val=2))
    assert [len(rows) for rows in (data.train, data.val, data.test)] == [4, 2, 1]
    assert data.test.y.tolist() == [1]
    names = data.encoder.features
    assert [n for n, v in zip(names, data.test.x[0], strict=True) if n.startswith("colour") and v] == []
    assert len(data.facts["test_path_sha256"]) == 64


# Features

CELLS = st.none() | st.sampled_from(["a", "b", "c", "É", "a,b"])
NUMBERS = st.floats(-1e18, 1e18) | st.just(math.nan) | st.integers(-3, 3).map(float)


@st.composite
def raw(draw: Callable, least: int = 1, most: int = 12) -> np.ndarray:
    """Raw rows of two columns of numbers and two of names."""
    n = draw(st.integers(least, most))
    x = np.empty((n, 4), object)
    for i, strategy in enumerate([NUMBERS, CELLS, NUMBERS, CELLS]):
        x[:, i] = draw(st.lists(strategy, min_size=n, max_size=n))
    return x


def fitted(x: np.ndarray) -> TableEncoder:
    return TableEncoder.fit(x, names=tuple("pqrs"), numeric=(True, False, True, False))


@settings(max_examples=200, deadline=None)
@given(train=raw(), other=raw())
def test_features_are_finite_and_learnt_from_training_rows_alone(train: np.ndarray, other: np.ndarray) -> None:
    encoder = fitted(train)
    for x in (train, other):
        features = encoder(x)
        assert features.dtype == np.float64
        assert features.shape == (len(x), len(encoder.features)) == (len(x), len(encoder.scaled))
        assert np.isfinite(features).all()
        for row, raw_row in zip(features, x, strict=True):
            for i, column in enumerate(encoder.columns):
                at = sum(len(c.features) for c in encoder.columns[:i])
                part = row[at : at + len(column.features)]
                if isinstance(column, Category):
                    assert part.sum() == (raw_row[i] in column.values), "one for a name, none for an unseen one"
                    assert not part.any() or column.values[int(part.argmax())] == raw_row[i]
                else:
                    expected = 0 if math.isnan(raw_row[i]) else raw_row[i] - column.median
                    assert part[0] == expected
                    assert column.indicator == any(map(math.isnan, train[:, i]))
                    assert not column.indicator or part[1] == math.isnan(raw_row[i])


@settings(max_examples=100, deadline=None)
@given(train=raw(), other=raw())
def test_facts_survive_json_and_encode_alike(train: np.ndarray, other: np.ndarray) -> None:
    encoder = fitted(train)
    again = TableEncoder.of(json.loads(json.dumps(encoder.facts(), allow_nan=False)))
    assert again == encoder
    np.testing.assert_array_equal(again(other), encoder(other))


@settings(max_examples=100, deadline=None)
@given(train=raw(2), other=raw())
def test_features_are_those_of_scikit_learn(train: np.ndarray, other: np.ndarray) -> None:
    # Where a column has nothing but missing cells, scikit-learn leaves it out.
    numbers = [i for i in (0, 2) if not np.isnan(train[:, i].astype(float)).all()]
    encoder, features = fitted(train), fitted(train)(other)
    at = {name: i for i, name in enumerate(encoder.features)}
    for i in numbers:
        imputer = SimpleImputer(strategy="median", add_indicator=True).fit(train[:, [i]].astype(float))
        expected = imputer.transform(other[:, [i]].astype(float))
        name = "pqrs"[i]
        expected[:, 0] -= imputer.statistics_[0]
        np.testing.assert_allclose(features[:, at[name]], expected[:, 0])
        if expected.shape[1] > 1:
            np.testing.assert_array_equal(features[:, at[f"{name} is missing"]], expected[:, 1])
    for i in (1, 3):
        hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train[:, [i]])
        names = [f"{'pqrs'[i]} is missing" if v is None else f"{'pqrs'[i]}={v}" for v in hot.categories_[0]]
        np.testing.assert_array_equal(features[:, [at[n] for n in names]], hot.transform(other[:, [i]]))


@settings(max_examples=50, deadline=None)
@given(rows=raw(10, 20), changed=raw(20, 20), seed=st.integers(0, 99))
def test_rows_held_out_never_influence_the_encoder(rows: np.ndarray, changed: np.ndarray, seed: int) -> None:
    fit = partial(TableEncoder.fit, names=tuple("pqrs"), numeric=(True, False, True, False))
    y = np.arange(len(rows), dtype=np.int32)[:, None].astype(np.float32)
    how = Splitting(val=2, test=3, seed=seed)
    one = cut(Dataset("rows", ("y",), Rows(rows, y), task="regression", fit=fit), how)
    held_out = np.concatenate([one.val.y, one.test.y]).ravel().astype(int)
    others = rows.copy()
    others[held_out] = changed[: len(held_out)]
    other = cut(Dataset("rows", ("y",), Rows(others, y), task="regression", fit=fit), how)
    assert one.encoder == other.encoder
    for a, b in zip(one.moments, other.moments, strict=True):
        np.testing.assert_array_equal(a, b)


def test_features_by_hand() -> None:
    x = np.array([[31.0, "red"], [math.nan, None], [27.0, "blue"], [40.0, "red"]], object)
    encoder = TableEncoder.fit(x, names=("age", "colour"), numeric=(True, False))
    assert encoder.columns == (Number("age", 31, True), Category("colour", ("blue", "red", None)))
    assert encoder.features == ["age", "age is missing", "colour=blue", "colour=red", "colour is missing"]
    assert encoder.scaled.tolist() == [True, False, False, False, False]
    expected = [[0, 0, 0, 1, 0], [0, 1, 0, 0, 1], [-4, 0, 1, 0, 0], [9, 0, 0, 1, 0]]
    assert encoder(x).tolist() == expected
    assert encoder(np.array([[math.nan, "violet"]], object)).tolist() == [[0, 1, 0, 0, 0]]


def test_large_numbers_that_differ_little_stay_apart() -> None:
    x = np.array([[1.7e9 + i] for i in range(5)], object)
    encoder = TableEncoder.fit(x, names=("time",), numeric=(True,))
    assert encoder(x).ravel().tolist() == [-2, -1, 0, 1, 2]


def test_data_json_tells_how_a_row_becomes_an_input() -> None:
    data = cut(load(many(200), "y"), Splitting())
    kept = json.loads(json.dumps(data.preprocessing(), allow_nan=False))
    table, rows = batches.one_table(data)
    raw = load(many(200), "y").train.x
    found = {row.tobytes() for row in inputs(kept, raw)}
    assert {row.tobytes() for row in table["x"]} == found
    np.testing.assert_allclose(table["x"][rows["train"]][:, 0].std(), 1, rtol=1e-6)


# Runs


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_network_learns_it_and_the_run_keeps_what_it_takes(kind: str, dlrun: Callable) -> None:
    path = written(many(400))
    if kind == "parquet":
        read = cells.read(Path(path))
        columns = {k: read.column(k) for k in read.columns}
        path = "t.parquet"
        parquet.write_table(pyarrow.table({k: pyarrow.array(v, from_pandas=True) for k, v in columns.items()}), path)
    done = dlrun("data=table", f"data.path={path}", "data.target=y", *QUICK, "epochs=30", "optim.lr=0.02")
    assert done.code == 0, done.err
    assert done.summary["test/accuracy"] > 0.85
    assert done.run["classes"] == ["no", "yes"]
    kept = json.loads((done.directory / "data.json").read_text())
    encoder = TableEncoder.of(kept["encoder"])
    assert encoder.features == ["a", "a is missing", "b", "colour=blue", "colour=green", "colour=red"]
    x = encoder(np.array([[math.nan, 1e9, "red"]], object))
    assert x.shape[1:] == tuple(kept["shape"])
    assert len(kept["input_mean"]) == len(kept["input_std"]) == 6
    assert [std == 1 for std in kept["input_std"]] == [False, True, False, True, True, True]
    assert len(kept["path_sha256"]) == 64


def test_a_network_learns_a_number(dlrun: Callable) -> None:
    random = np.random.default_rng(0)
    rows = [(a, b, 3000 * a - b + 500) for a, b in random.normal(size=(300, 2))]
    path = written("a,b,price\n" + "".join(f"{a:.5f},{b:.5f},{y:.5f}\n" for a, b, y in rows))
    done = dlrun("data=table", f"data.path={path}", "data.target=price", *QUICK, "epochs=30", "optim.lr=0.02")
    assert done.code == 0, done.err
    assert done.summary["test/r2"] > 0.95
    assert done.run["classes"] == ["price"]


# What is wrong


def binary(raw: bytes) -> Callable[[], None]:
    return lambda: Path("t.csv").write_bytes(raw) and None


def text(content: str) -> Callable[[], None]:
    return binary(content.encode())


def nested() -> None:
    parquet.write_table(pyarrow.table({"l": [[1], [2]] * 3, "a": [1, 2] * 3, "bought": ["x", "y"] * 3}), "t.csv")


def names() -> None:
    rows = "".join(f"n{i},{i},{'yes' if i % 2 else 'no'}\n" for i in range(200))
    Path("t.csv").write_text("name,age,bought\n" + rows)


def held_out(content: str) -> Callable[[], None]:
    def make() -> None:
        Path("t.csv").write_text(PEOPLE)
        Path("test.csv").write_text(content)

    return make


def dated(write: Callable[[int], str], days: int, rows: int = 60) -> str:
    lines = [f"{i},{write(i % days + 1)},{'yn'[i % 2]}" for i in range(rows)]
    return "\n".join(["a,day,y", *lines]) + "\n"


@pytest.mark.parametrize(
    "write",
    [
        lambda i: f"2024-01-{i:02}", lambda i: f"{i}.1.2024", lambda i: f"1/{i}/24", lambda i: f"{i} Jan 2024",
        lambda i: f'"January {i}, 2024"', lambda i: f"Mon {i}-Feb-24", lambda i: f"2024-01-{i:02}T10:00:00Z",
    ],
)  # fmt: skip
def test_dates_are_said_to_become_names_and_many_are_refused(write: Callable[[int], str]) -> None:
    (told,) = [line for line in load(dated(write, 12), "y").warnings if "date" in line]
    assert told.startswith(
        f"column day has {write(1).strip(chr(34))!r:.30} at line 2, a date: each of 12 becomes a feat"
    )
    with pytest.raises(
        Unfit, match=r"neither numbers nor names; data.categorical=\[day\] treats each as a name; dates be"
    ):
        load(dated(write, 25), "y")
    assert not any("date" in line for line in load(dated(write, 12), "y", categorical=["day"]).warnings)


def test_words_that_become_many_features_are_told() -> None:
    text = "a,city,colour,y\n" + "".join(f"{i},town {i % 30},c{i % 3},{'yn'[i % 2]}\n" for i in range(90))
    (told,) = load(text, "y").warnings
    assert told == "each name becomes a feature of its own: of column city 30; data.drop leaves columns out"
    assert load(text, "y", categorical=["city"]).warnings == (), "it was asked for"


@pytest.mark.parametrize("cell", ["n/a", "#N/A", "<NA>", "nan", "NAN", "-nan", "NULL", "None", "?", ""])
def test_usual_spellings_of_missing_numbers(cell: str) -> None:
    data = load(PEOPLE.replace("b,,", f"b,{cell},"))
    assert math.isnan(data.train.x[1, 1])


def test_another_word_among_numbers_is_refused_with_the_remedy() -> None:
    text = PEOPLE.replace("b,,", "b,unknown,")
    with pytest.raises(
        Unfit, match=r"line 3 has 'unknown' in column age, where numbers are wanted; data.missing names"
    ):
        load(text)
    assert math.isnan(load(text, missing=["unknown", "NA", "?"]).train.x[1, 1])


HEAD, *LINES = PEOPLE.splitlines(keepends=True)
SECOND = "data.target=bought data.test_path=test.csv"
BE = "data.path=t.csv: must be a CSV or Parquet file with a header"
HELD = "data.path=t.csv: must hold usable cells"
GOOD = text(PEOPLE)
WRONG: dict[str, tuple[Callable[[], Any], str, str]] = {
    "no path": (GOOD, "data.path=null", "data.path=null: must name a CSV or Parquet file with a header"),
    "missing": (lambda: None, PLAIN, "data.path=t.csv: must name a CSV or Parquet file with a header: it does "
        "not exist"),
    "near": (lambda: Path("tt.csv").write_text(PEOPLE), PLAIN, "it does not exist (did you mean 'tt.csv'?)"),
    "folder": (lambda: Path("t.csv").mkdir(), PLAIN, f"{BE}: it is a folder"),
    "empty": (text(""), PLAIN, f"{BE}: it is empty"),
    "blank": (text("\n \n"), PLAIN, f"{BE}: it is empty"),
    "header alone": (text(HEAD), PLAIN, f"{BE}: there are no rows below the header"),
    "binary": (binary(b"\x89PNG\r\n\x1a\n\xff\x00"), PLAIN, f"{BE}: it is not text in UTF-8: byte 0"),
    "broken Parquet": (binary(b"PAR1" + b"x" * 99 + b"PAR1"), PLAIN, f"{BE}: it is broken:"),
    "cut Parquet": (binary(b"PAR1"), PLAIN, f"{BE}: it is broken:"),
    "not a table": (text("hello\nworld\n"), PLAIN, f"{BE}: it has one column, 'hello'"),
    "quote": (text(HEAD + 'a,"31,red,true,0,yes\n' + LINES[1]), PLAIN, f"{BE}: line 3 is not CSV: unexpected end"),
    "short row": (text(PEOPLE + "g,3\n"), PLAIN, f"{BE}: line 8 has 2 cells, the header 6"),
    "long row": (text(HEAD + "\n" + LINES[0][:-1] + ",x\n"), PLAIN, f"{BE}: line 3 has 7 cells, the header 6"),
    "twice": (text(PEOPLE.replace("age", "name")), PLAIN, f"{BE}: there are 2 columns named 'name'"),
    "unnamed": (text(PEOPLE.replace("age", "")), PLAIN, "have a name for every column: column 2 has none;"),
    "a word": (text(PEOPLE.replace("33,", "old,")), PLAIN, f"{HELD}: line 6 has 'old' in column age, where numbers"),
    "grouped": (text(PEOPLE.replace("33,", "1_000,")), PLAIN, f"{HELD}: line 6 has '1_000' in column age"),
    "infinite": (text(PEOPLE.replace("33,", "inf,")), PLAIN, f"{HELD}: line 6 has inf in column age; numbers must be"),
    "large": (text(PEOPLE.replace("33,", "1e301,")), PLAIN, "line 6 has 1e+301 in column age"),
    "empty column": (text("a,b,bought\n,1,y\n,2,n\n"), PLAIN, "column a is empty; data.drop=[a] leaves it out"),
    "lists": (nested, PLAIN, "column l is empty"),
    "names": (names, PLAIN, "data.drop=[]: must have name, where most names occur in a single row"),
    "no target": (GOOD, "", "data.target=null: must name a column: 'name', 'age', 'colour', 'married', 'children'"),
    "other target": (GOOD, "data.target=bougt", "data.target=bougt: must name a column (did you mean 'bought'?)"),
    "other drop": (GOOD, f"{PLAIN} data.drop=[nmae]", "data.drop=nmae: must name a column (did you mean 'name'?)"),
    "drop target": (GOOD, f"{PLAIN} data.drop=[bought]", "data.drop=bought: must not name the target"),
    "other categorical": (GOOD, f"{PLAIN} data.categorical=[kids]", "data.categorical=kids: must name a column: "),
    "nothing left": (GOOD, f"{PLAIN} data.drop=[name,age,colour,married,children]", "leave a column beside the target"),
    "drop is text": (GOOD, f"{PLAIN} data.drop=name", "data.drop=name: not allowed; allowed: a list, each item text"),
    "target missing": (text(PEOPLE.replace("0,no", "0,")), PLAIN, "data.target=bought: must be a column to predict: it is empty at line 5 of t.csv"),  # noqa: E501
    "targets missing": (text(PEOPLE.replace("no\n", "\n")), PLAIN, "it is empty at line 3 and 2 more rows of t.csv"),
    "one class": (text(PEOPLE.replace("no\n", "yes\n")), PLAIN, "there is only one class, yes, in all 6 rows"),
    "one number": (text(PEOPLE.replace("no\n", "yes\n").replace("yes", "1.5")), PLAIN, "there is only one value, 1.5, in all 6 rows"),  # noqa: E501
    "single row": (text(PEOPLE + "g,30,red,true,1,maybe\n"), PLAIN, "there is a single row of class maybe; a split"),
    "text to predict": (GOOD, f"{PLAIN} data.task=regression", "line 2 has 'yes' in column bought, where numbers"),
    "few words to predict": (GOOD, "data.target=age", "data.target=age: must be a column to predict: it is empty"),
    "no test file": (GOOD, SECOND, "data.test_path=test.csv: must name a CSV or Parquet file"),
    "empty test file": (held_out(""), SECOND, "data.test_path=test.csv: must be a CSV or Parquet file with a header: it is empty"),  # noqa: E501
    "columns of tests": (held_out("name,bought\na,yes\n"), SECOND, "have the columns of data.path; it lacks 'age'"),
    "word in tests": (held_out(HEAD + "a,old,red,true,0,yes\n"), SECOND, "data.test_path=test.csv: must hold usable cells: line 2 has 'old' in column age"),  # noqa: E501
    "class in tests": (held_out(HEAD + "a,3,red,true,0,maybe\n"), SECOND, "there is class maybe in test.csv that no training row has"),  # noqa: E501
    "no target in tests": (held_out(HEAD + "a,3,red,true,0,\n"), SECOND, "it is empty at line 2 of test.csv"),
    "too few rows": (text(HEAD + "".join(LINES[:4])), f"{PLAIN} split.test=4", "split.test=4: must leave rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_errors(case: str, dlrun: Callable, own_folder: Path) -> None:
    make, words, message = WRONG[case]
    make()
    before = sorted(own_folder.rglob("*"))
    done = dlrun("data=table", *([] if "data.path" in words else ["data.path=t.csv"]), *words.split())
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    assert message in done.err
    assert len(done.err) < 400
    assert sorted(own_folder.rglob("*")) == before


def test_parquet_without_its_package(dlrun: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    find = cells.importlib.util.find_spec
    monkeypatch.setattr(
        cells.importlib.util, "find_spec", lambda name, *a: None if name == "pyarrow" else find(name, *a)
    )
    Path("t.parquet").write_bytes(b"PAR1")
    done = dlrun("data=table", "data.path=t.parquet", "data.target=y")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: data.path=t.parquet: must be a CSV or Parquet file with a header: "
        "Parquet needs the package pyarrow: pip install 'dlrun[table]'"
    ]
