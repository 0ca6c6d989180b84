"""From cells of a table to features that a network can take: fitted on training rows, plain enough to be kept."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dlrun.data.dataset import Array, standardised


@dataclass(frozen=True)
class Number:
    """A column of numbers, less ``median``, which takes the place of a missing one.

    With ``indicator`` another feature is 1 where the number is missing.
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
    """A column of names: a feature a name, 1 for the cell's and 0 for others; all 0 for one not seen in training.

    Args:
      values: the names there were, and None if a cell was missing.
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
    """Features of raw rows, an object array (n, columns) of floats, NaN if missing, and text, None if missing."""

    columns: tuple[Number | Category, ...]

    @classmethod
    def fit(cls, x: Array, *, names: tuple[str, ...], numeric: tuple[bool, ...]) -> "TableEncoder":
        """Learns from training rows.

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
        """One that :meth:`facts` tells of."""
        kinds = {"number": Number, "category": Category}
        columns = []
        for found in facts["columns"]:
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k != "kind"}
            columns.append(kinds[found["kind"]](**values))
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
    """Raw examples as the model of a run takes them: tokens as they are, others encoded and standardised, as float32.

    Args:
      facts: what the run's data.json holds.
      x: examples as the source has them; of a table raw rows (n, columns), as :class:`TableEncoder` takes them.
    """
    if "encoder" in facts:
        x = TableEncoder.of(facts["encoder"])(x)
    if "input_mean" not in facts:
        return x
    return standardised(x, np.asarray(facts["input_mean"]), np.asarray(facts["input_std"]))
