"""Turns the cells of a table into features, by encoders that are fitted on training rows and saved as plain values."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dlrun.data.dataset import Array, standardised


@dataclass(frozen=True)
class Number:
    """Encodes a column of numbers: subtracts ``median``, which also takes the place of missing numbers.

    With ``indicator`` there is a second feature, which is 1 where the number is missing, else 0.
    """

    name: str
    median: float
    indicator: bool

    @classmethod
    def fit(cls, name: str, cells: Array) -> "Number":
        missing = np.isnan(cells)
        median = 0.0 if missing.all() else float(np.median(cells[~missing]))
        return cls(name, median, bool(missing.any()))

    @property
    def features(self) -> list[str]:
        return [self.name, f"{self.name} is missing"][: 1 + self.indicator]

    @property
    def scaled(self) -> list[bool]:
        return [True, False][: 1 + self.indicator]

    def __call__(self, cells: Array) -> Array:
        missing = np.isnan(cells)
        centred = np.where(missing, 0, cells - self.median)
        return np.stack([centred, missing], 1)[:, : 1 + self.indicator]


@dataclass(frozen=True)
class Category:
    """Encodes a column of names one-hot: for each name there is a feature, 1 where the cell has that name, else 0.

    A name that no training row has makes all features 0.

    Args:
      name: of the column.
      values: the names that training rows have, and None if one of their cells is missing.
    """

    name: str
    values: tuple[str | None, ...]

    @classmethod
    def fit(cls, name: str, cells: Array) -> "Category":
        values = set(cells)
        return cls(name, (*sorted(values - {None}), *({None} & values)))

    @property
    def features(self) -> list[str]:
        return [f"{self.name} is missing" if v is None else f"{self.name}={v}" for v in self.values]

    @property
    def scaled(self) -> list[bool]:
        return [False] * len(self.values)

    def __call__(self, cells: Array) -> Array:
        return np.stack([cells == value for value in self.values], 1)


@dataclass(frozen=True)
class TableEncoder:
    """Turns the raw rows of a table into features.

    Raw rows are an object array (n, columns): floats, NaN if missing, in columns of numbers; text, None if missing, in
    columns of names.
    """

    columns: tuple[Number | Category, ...]

    @classmethod
    def fit(cls, x: Array, *, names: tuple[str, ...], numeric: tuple[bool, ...]) -> "TableEncoder":
        """Fits an encoder on training rows.

        Args:
          x: raw rows.
          names: the columns' names.
          numeric: which columns hold numbers; the others hold names.
        """
        parts = [
            Number.fit(name, x[:, i].astype(np.float64)) if number else Category.fit(name, x[:, i])
            for i, (name, number) in enumerate(zip(names, numeric, strict=True))
        ]
        return cls(tuple(parts))

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "TableEncoder":
        """The encoder that :meth:`facts` describes."""
        kinds = {"number": Number, "category": Category}
        columns = []
        for column in facts["columns"]:
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in column.items() if k != "kind"}
            columns.append(kinds[column["kind"]](**values))
        return cls(tuple(columns))

    @property
    def features(self) -> list[str]:
        """Names of the features."""
        return [name for column in self.columns for name in column.features]

    @property
    def scaled(self) -> Array:
        return np.array([scaled for column in self.columns for scaled in column.scaled])

    def __call__(self, x: Array) -> Array:
        parts = [
            column(x[:, i].astype(np.float64) if isinstance(column, Number) else x[:, i])
            for i, column in enumerate(self.columns)
        ]
        return np.concatenate(parts, 1).astype(np.float64)

    def facts(self) -> dict[str, Any]:
        columns = [{"kind": type(c).__name__.lower(), **asdict(c)} for c in self.columns]
        return {"columns": [{k: list(v) if isinstance(v, tuple) else v for k, v in c.items()} for c in columns]}


def inputs(facts: dict[str, Any], x: Array) -> Array:
    """Turns raw examples into inputs for a trained run's model: encoded and standardised, float32; tokens stay as is.

    Args:
      facts: the content of the run's data.json.
      x: examples as the data source gives them; for a table raw rows, as :class:`TableEncoder` takes them.
    """
    if "encoder" in facts:
        x = TableEncoder.of(facts["encoder"])(x)
    if "input_mean" not in facts:
        return x
    return standardised(x, np.asarray(facts["input_mean"]), np.asarray(facts["input_std"]))
