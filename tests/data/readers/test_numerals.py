"""Numbers, names and missing cells as people and spreadsheets write them: told apart, or refused with a key."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from dlrun.config.settings import Splitting
from dlrun.data.dataset import Dataset, cut
from dlrun.data.readers import numerals
from dlrun.data.sources.table import table
from dlrun.errors import Unfit

N = 24
BIG = [2**53 + (0, 1, 2, 4)[i % 4] for i in range(N)]


@pytest.mark.parametrize(("cell", "point", "comma"), [
    ("12", 12, 12), ("-1.5", -1.5, None), ("1,5", None, 1.5), ("1,200", 1200, 1.2), ("1.200", 1.2, 1200),
    ("1.234,56", None, 1234.56), ("1,234.56", 1234.56, None), ("1,234,567", 1234567, None), ("1 200", 1200, 1200),
    ("1\u00a0200,5", None, 1200.5), ("1\u202f200", 1200, 1200), ("1'200.50", 1200.5, None), ("₹1,20,000", 120000, None),
    ("$1,200", 1200, 1.2), ("-$5", -5, -5), ("$-5", -5, -5), ("5 €", 5, 5), ("EUR 5", 5, 5), ("45%", 45, 45),
    ("(1,200.5)", -1200.5, None), ("\u22124", -4, -4), ("1e5", 1e5, 1e5), ("1,5E-3", None, 0.0015), (".5", 0.5, None),
    ("0,123", None, 0.123), ("0.123", 0.123, None), ("007", 7, 7), ("12,34", None, 12.34),
    *[(cell, None, None) for cell in ("", "-", ",", "a", "1_000", "1,2,3", "1..2", "--1", "$5%", "(5", "5)", "1 23",
      "2024-01-05", "5.1.2024", "12:30", "1/2", "5 kg", "A1", "1,2345,678", "192.168.1.1", "+49 170 12", "nan", "0x1")],
])  # fmt: skip
def test_readings(cell: str, point: float | None, comma: float | None) -> None:
    assert [numerals.number(cell, p) for p in (".", ",")] == [point, comma]


def test_digits_are_kept() -> None:
    assert numerals.exact("9007199254740993") == 2**53 + 1
    assert numerals.exact("9,007,199,254,740,993") == 2**53 + 1
    assert numerals.exact("2.0") == 2
    assert numerals.exact("0.1") == Decimal("0.1")


def load(text: str, target: str = "y", encoding: str = "utf-8", **options: Any) -> Dataset:
    Path("t.csv").write_bytes(text.encode(encoding))
    return table(path="t.csv", target=target, **options)


def sheet(*columns: Any, header: str = "x;y", sep: str = ";", n: int = N) -> str:
    """A file of columns that are given by cells to go around, or functions of the row's number."""
    cells = [[c(i) if callable(c) else c[i % len(c)] for c in columns] for i in range(n)]
    return "\n".join([header.replace(";", sep), *[sep.join(row) for row in cells]]) + "\n"


CLASS = ("no", "yes")


def index(form: str) -> Any:
    return lambda i: form.format(i, i + 1)


@pytest.mark.parametrize(("form", "first", "said"), [
    ("{0},5", 0.5, "'0,5' at line 2, read as 0.5"),
    ("{1}.234,56", 1234.56, "'1.234,56' at line 2, read as 1234.56"),
    ("${1},200.00", 1200, "'$1,200.00' at line 2, read as 1200"),
    ("{0}%", 0, "'0%' at line 2, read as 0"),
    ("{1}\u00a0234", 1234, "read as 1234"),
    ("({1}.50)", -1.5, "'(1.50)' at line 2, read as -1.5"),
    ("{1}.234", 1.234, None), ("{0}e5", 0, None), (" {0}.5 ", 0.5, None),
])  # fmt: skip
@pytest.mark.parametrize("place", ["feature", "target"])
def test_numbers_are_numbers(place: str, form: str, first: float, said: str | None) -> None:
    data = load(sheet(*(index(form), CLASS)[:: 1 if place == "feature" else -1]))
    values = data.train.x[:, 0] if place == "feature" else data.train.y[:, 0]
    assert len(set(values.tolist())) == N
    assert values[0] == pytest.approx(first)
    assert len(data.warnings) == (said is not None)
    assert said is None or said in data.warnings[0]


def test_a_point_elsewhere_tells_what_a_comma_is() -> None:
    data = load(sheet(index('"{1},200"'), index("{0}.25"), CLASS, header="x;z;y", sep=","))
    assert data.train.x[0].tolist() == [1200, 0.25]


@pytest.mark.parametrize(("decimal", "first"), [("point", 1200), ("comma", 1.2)])
def test_the_key_decides(decimal: Any, first: float) -> None:
    data = load(sheet(index('"{1},200"'), CLASS, sep=","), decimal=decimal)
    assert data.train.x[0, 0] == first


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "either": (sheet(index('"{1},200"'), CLASS, sep=","), {}, "decimal=auto: must be point or comma: column x has '1,200' at line 2, which is 1200 or 1.2"),  # noqa: E501
    "both": (sheet(index("{0},5"), index("{0}.5"), CLASS, header="x;z;y"), {}, "column x has '0,5' at line 2, but column z has '0.5' at line 2"),  # noqa: E501
    "thousands?": (sheet(index("{0},5"), index("{1}.234"), CLASS, header="x;z;y"), {}, "but column z has '1.234' at line 2"),  # noqa: E501
    "a point for a comma": (sheet(index("{0},5"), ("0.5", "1.5"), CLASS, header="x;z;y"), {"decimal": "comma"}, "line 2 has '0.5' in column z, where numbers with a decimal comma are wanted"),  # noqa: E501
    "a comma for a point": (sheet(index("{0},5"), CLASS), {"decimal": "point"}, "line 2 has '0,5' in column x, where numbers"),  # noqa: E501
    "units": (sheet(("45%", "0.5"), CLASS), {}, "column x has '45%' at line 2 and '0.5' at line 3, of different units"),
    "currencies": (sheet(("$5", "5 €"), CLASS), {}, "column x has '$5' at line 2 and '5 €' at line 3, of different"),
    "dates": (sheet(index("2024-01-{1:02}"), CLASS), {}, "drop=[]: must have x: column x has '2024-01-01' at line 2, and 23 other values, neither numbers nor names; data.categorical=[x] treats each"),  # noqa: E501
    "times": (sheet(index("{0}:30"), CLASS), {}, "column x has '0:30' at line 2, and 23 other values"),
    "with a unit": (sheet(index("{0} kg"), CLASS), {}, "column x has '0 kg' at line 2, and 23 other values"),
    "dates to predict": (sheet(CLASS, lambda i: f"{i % 22 + 1}.1.2024", n=66), {}, "column y has '1.1.2024' at line 2, and 21 other values, neither numbers nor names; data.task=classification"),  # noqa: E501
    "missing target": (sheet(index("{0}"), ("NA", "EU", "None")), {}, "it is missing, 'NA', at line 2 and 15 more rows of t.csv; data.missing=[] takes it as it is"),  # noqa: E501
    "nan is none": (sheet(("1", "nan", "3"), CLASS), {"missing": ["x"]}, "line 3 has 'nan' in column x, where numbers"),
    "large": (sheet(lambda i: str(BIG[i]), CLASS), {}, f"column x has numbers from {2**53} to {2**53 + 4}, too large to be told apart in float64: subtract {2**53}"),  # noqa: E501
    "large to predict": (sheet(CLASS, lambda i: str(BIG[i] + i)), {"task": "regression"}, "column y has numbers from"),
    "two ways": ("a,b;c\n1,2;3\n4,5;6\n", {"target": "c"}, "comma and semicolon each divide its lines into the same number of cells; data.delimiter=comma says which one to use"),  # noqa: E501
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_certain_is_refused_in_one_line(case: str) -> None:
    text, options, message = REFUSED[case]
    with pytest.raises(Unfit) as error:
        load(text, **options)
    line = error.value.at("data")
    assert message in line
    assert "\n" not in line
    assert len(line) < 400


# Delimiters


@pytest.mark.parametrize("text", [
    sheet(index("{0}"), CLASS, header='"a, b, c, d";y'),
    "sep=;\r\n" + sheet(index("{0}"), CLASS),
    '"sep=;"\n' + sheet(index("{0}"), CLASS),
    sheet(index('"{0},1,2 a"'), CLASS, header='"a|b|c|d";y', n=4),
])  # fmt: skip
def test_the_delimiter_is_what_cuts_evenly(text: str) -> None:
    assert load(text).train.x.shape[1:] == (1,)


def test_lines_are_counted_from_the_top_of_the_file() -> None:
    with pytest.raises(Unfit, match="line 4 has 'old' in column x"):
        load("sep=;\nx;y\n1;a\nold;b\n3;a\n4;b\n")


def test_the_delimiter_can_be_said() -> None:
    text = sheet(("1,2",), CLASS, header="a,b;y")
    assert load(text, "b;y", delimiter="comma", drop=[]).classes == ("2;no", "2;yes")
    assert load(text, delimiter="semicolon", decimal="comma").train.x[0, 0] == 1.2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_of_spreadsheets(encoding: str) -> None:
    data = load(sheet(index("größe {0}"), index("{0}"), CLASS, header="n;ü;y", sep="\t"), encoding=encoding, drop=["n"])
    assert data.train.x[3, 0] == 3


# Names


def test_a_class_may_be_called_as_missing_cells_are() -> None:
    data = load(sheet(index("{0}"), ("NA", "EU", "None")), missing=[])
    assert data.classes == ("EU", "NA", "None")
    assert load(sheet(index("{0}"), ("NA", "EU", "-")), missing=["?"]).classes == ("-", "EU", "NA")


def test_numbers_that_stand_for_missing_cells() -> None:
    x = load(sheet(("-999", "1", "2"), CLASS), missing=[-999]).train.x
    assert np.isnan(x[::3, 0].astype(float)).all()
    assert x[1:3, 0].tolist() == [1, 2]
    parquet.write_table(pyarrow.table({"x": [-999, 1, 2] * 8, "y": list("ab") * 12}), "t.pq")
    x = table(path="t.pq", target="y", missing=[-999]).train.x
    assert np.isnan(x[::3, 0].astype(float)).all()


SPELLINGS = ("-999", "-999.0", "-9.99e2", "(999)", "-999,00")


@pytest.mark.parametrize("missing", [-999, -999.0])
@pytest.mark.parametrize("spelled", SPELLINGS)
def test_a_number_that_stands_for_missing_cells_has_every_spelling(spelled: str, missing: float) -> None:
    """Beside decimal commas, of which one that a program wrote tells nothing."""
    Path("test.csv").write_text(f"x;z;y\n{spelled};{spelled};no\n")
    rows = sheet((spelled, "1", "2,5"), (spelled, "u", "v"), CLASS, header="x;z;y")
    data = load(rows, missing=[missing], categorical=["z"], test_path="test.csv")
    assert data.test is not None
    for x in (data.train.x[::3], data.test.x):
        assert np.isnan(x[:, 0].astype(float)).all()
        assert (x[:, 1] == None).all()  # noqa: E711
    assert data.train.x[1:3].tolist() == [[1, "u"], [2.5, "v"]]
    assert not any("data.missing" in line for line in data.warnings)
    with pytest.raises(Unfit, match="it is missing, "):
        load(sheet(CLASS, (spelled, "1", "2,5")), missing=[missing])


def test_numbers_that_stand_for_no_cell_are_told() -> None:
    rows = sheet(("-999", "1", str(2**53)), CLASS)
    (line,) = load(rows, missing=["?", "-7", -99, -999, 0.5, 2**53 + 1]).warnings
    assert line == f"data.missing has -99, 0.5, {2**53 + 1}, which no cell of the table equals"
    price = pyarrow.array(["0.10", "2.50", "3.00"] * 8).cast(pyarrow.decimal128(5, 2))
    parquet.write_table(pyarrow.table({"x": price, "z": [0.1, -1.0, 2.0] * 8, "y": list("ab") * 12}), "t.pq")
    data = table(path="t.pq", target="y", missing=[0.1, -1])
    assert data.warnings == ()
    assert np.isnan(data.train.x[:3].astype(float)).tolist() == [[True, True], [False, True], [False, False]]


def test_zeros_that_lead_are_kept_in_names_and_told_of_in_numbers() -> None:
    text = sheet(("01", "1", "007"), CLASS)
    named = cut(load(text, categorical=["x"]), Splitting(val=2, test=2))
    assert named.encoder is not None
    assert named.encoder.facts()["columns"][0]["values"] == ["007", "01", "1"]
    number = load(text)
    assert number.train.x[:3, 0].tolist() == [1, 1, 7]
    assert "column x has '01' at line 2, read as a number; data.categorical=[x] keeps it" in number.warnings[0]
    assert load(sheet(CLASS, ("01", "1", "10"))).classes == ("01", "1", "10")
    assert load(sheet(CLASS, ("01", "1", "10")), task="regression").train.y[:3, 0].tolist() == [1, 1, 10]
    Path("test.csv").write_text("x;y\nno;01\n")
    with pytest.raises(Unfit, match=r"there is class 01 in test\.csv that no training row has"):
        load(sheet(CLASS, ("1", "10")), test_path="test.csv")


@pytest.mark.parametrize("kind", ["csv", "int64", "uint64", "decimal"])
def test_whole_numbers_keep_their_digits_as_classes(kind: str) -> None:
    if kind == "csv":
        data = load(sheet(CLASS, lambda i: str(BIG[i])))
    else:
        types = {"int64": pyarrow.int64(), "uint64": pyarrow.uint64(), "decimal": pyarrow.decimal128(20, 0)}
        columns = {"x": list("ab") * 12, "y": pyarrow.array(BIG).cast(types[kind])}
        parquet.write_table(pyarrow.table(columns), "t.pq")
        data = table(path="t.pq", target="y")
    assert data.classes == tuple(str(2**53 + i) for i in (0, 1, 2, 4))
    assert data.train.y[:5].tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize("place", ["train", "test", "category", "category beside missing ones"])
def test_floats_that_stand_for_several_whole_numbers_are_no_names(place: str) -> None:
    floats, ints = np.float64(BIG), np.arange(N) % 4
    x, y = (floats, ints) if "category" in place else (ints, floats if place == "train" else BIG)
    x = pyarrow.array([*x[:-1], -1.0 if "missing" in place else x[-1]])
    parquet.write_table(pyarrow.table({"x": x, "y": y}), "t.pq")
    parquet.write_table(pyarrow.table({"x": x, "y": floats}), "test.pq")
    given = {"categorical": ["x"]} if "category" in place else {"test_path": "test.pq"}
    with pytest.raises(
        Unfit, match=f"there is {2**53 + 4} as float64 in .*, which also stands for neighbouring whole numbers"
    ):
        table(path="t.pq", target="y", task="classification", missing=[-1], **given)  # pyright: ignore


@pytest.mark.parametrize("kind", ["int64", "float64"])
@pytest.mark.parametrize("column", ["x", "y"])
def test_advice_on_large_numbers_is_taken(kind: str, column: str) -> None:
    values = {"x": pyarrow.array([1, 2, 3] * 8), "y": pyarrow.array([0.5, 1.5] * 12)}
    parquet.write_table(pyarrow.table(values | {column: pyarrow.array(np.array(BIG).astype(kind))}), "t.pq")
    with pytest.raises(Unfit) as error:
        table(path="t.pq", target="y", task="regression")
    said = {
        "x": ", or data.categorical=[x] treats them as names",
        "y": ", or data.task=classification treats them as classes",
    }
    assert f"too large to be told apart in float64: subtract {2**53} from them" in str(error.value)
    assert [advice in str(error.value) for advice in said.values()] == [kind == "int64" and column == k for k in said]
    if kind == "int64":
        table(path="t.pq", target="y", **({"categorical": ["x"]} if column == "x" else {"task": "classification"}))  # pyright: ignore


@pytest.mark.parametrize("nulls", [0, 1])
def test_whole_numbers_keep_their_digits_as_categories(nulls: int) -> None:
    ids = pyarrow.array([*BIG[: N - nulls], *[None] * nulls], pyarrow.int64())
    parquet.write_table(pyarrow.table({"x": ids, "y": list("ab") * 12}), "t.pq")
    x = table(path="t.pq", target="y", categorical=["x"]).train.x[:, 0]
    assert x[:4].tolist() == [str(i) for i in BIG[:4]]
    assert x[-1] == (None if nulls else str(BIG[-1]))
    if nulls:
        small = pyarrow.array([*range(N - 1), None], pyarrow.int64())
        parquet.write_table(pyarrow.table({"x": small, "y": list("ab") * 12}), "t.pq")
        assert table(path="t.pq", target="y").train.x[:, 0].tolist() == [
            *range(N - 1),
            pytest.approx(np.nan, nan_ok=True),
        ]


def test_decimals_are_classes_by_their_value() -> None:
    y = pyarrow.array(["1.50", "2.00"] * 12).cast(pyarrow.decimal128(5, 2))
    parquet.write_table(pyarrow.table({"x": range(N), "y": y}), "t.pq")
    assert table(path="t.pq", target="y", task="classification").classes == ("1.5", "2")


def test_whole_numbers_to_predict_that_may_be_classes_are_told_of() -> None:
    text = sheet(index("{0}"), lambda i: str(i % 25), n=300)
    (said,) = load(text).warnings
    assert said.startswith("y has 25 different whole numbers and is predicted as a number; data.task=classification")
    assert load(text, task="regression").warnings == ()
    assert load(sheet(index("{0}"), index("{0}"), n=300)).warnings == (), "a row each"


def test_what_was_read_reaches_the_person(dlrun) -> None:
    Path("t.csv").write_text(sheet(index("{0},5"), CLASS))
    words = (
        "batch_size=8",
        "epochs=1",
        "model.widths=[4]",
        "norm=none",
        "log.plot=false",
        "split.test=6",
        "split.val=6",
    )
    done = dlrun("data=table", "data.path=t.csv", "data.target=y", *words)
    assert done.code == 0, done.err
    assert "column x has '0,5' at line 2, read as 0.5" in done.err
    refused = dlrun("data=table", "data.path=t.csv", "data.target=y", "data.decimal=dot", "data.missing=[true]")
    assert refused.code == 2
    assert "data.decimal=dot: not allowed; allowed: auto, point, comma" in refused.err
    assert "data.missing[0]=true: not allowed; allowed: text or a number" in refused.err
