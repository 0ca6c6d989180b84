"""Turns cells of a table into features for a network; fitted on training rows, and saved as plain values."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dlrun.data.dataset import Array, standardised


@dataclass(frozen=True)
class Number:
    """A column of numbers, from which ``median`` is subtracted; a missing number counts as the median.

    With ``indicator`` a second feature is 1 where the number is missing, else 0.
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
    """A column of names, with a feature for each name: 1 where it is the cell's, else 0.

    For a name that no training row has, all features are 0.

    Args:
      values: the names of the training rows, and None if one of their cells is missing.
    """

    name: str
    values: tuple[str | None, ...]

    @classmethod
    def fit(cls, name: str, cells: Array) -> "Category":
        there = set(cells)
        return cls(name, (*sorted(there - {None}), *({None} & there)))

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
    """Turns raw rows into features.

    Raw rows are an object array (n, columns) of floats, NaN if missing, and text, None if missing.
    """

    columns: tuple[Number | Category, ...]

    @classmethod
    def fit(cls, x: Array, *, names: tuple[str, ...], numeric: tuple[bool, ...]) -> "TableEncoder":
        """An encoder that is fitted on training rows.

        Args:
          x: raw rows.
          names: of the columns.
          numeric: which of them hold numbers; the others hold text.
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
    """Raw examples as a run's model takes them: tokens as they are, all others encoded and standardised, as float32.

    Args:
      facts: the content of the run's data.json.
      x: examples as the source gives them; for a table raw rows, as :class:`TableEncoder` takes them.
    """
    if "encoder" in facts:
        x = TableEncoder.of(facts["encoder"])(x)
    if "input_mean" not in facts:
        return x
    return standardised(x, np.asarray(facts["input_mean"]), np.asarray(facts["input_std"]))
