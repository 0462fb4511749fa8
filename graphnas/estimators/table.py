"""Benchmark tables as estimators: recorded results, looked up instead of trained."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from operator import mul
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.estimators.index import MAX_RANKED, Classes, KeyIndex, ranks_of, strides_of, table_keys
from graphnas.estimators.table_data import Table

__all__ = ["Table", "TableEstimator"]


class TableEstimator(Estimator):
    """Looks architectures up in a Table; scores and test figures are in the table's units.

    An architecture that carries its decisions is found by their rank where the space has at most 10^7 writings; all
    others are found by their canonical key.

    Args:
        table: the results.
        score: the column to maximise; by default the table's validation column. Test columns are refused.
        metrics: further columns to report with every evaluation. Test columns are refused.
    """

    cheap = True
    batch = 1

    def __init__(self, table: Table, *, score: str = "", metrics: Sequence[str] = ()) -> None:
        self.table = table
        self.name = table.name
        self.space = table.space
        self.metric = score or table.validation
        for column in (self.metric, *metrics):
            if column in table.test:
                raise GraphnasError(
                    f"table {table.name}: {column!r} is read once, for the report; a search must not see it"
                )
            if column not in table.columns:
                raise unknown(f"column of table {table.name}:", column, set(table.columns) - set(table.test))
        self.metrics = tuple(metrics)
        self._score = _floats(table.columns[self.metric])
        self._reported = [(column, _floats(table.columns[column])) for column in self.metrics]
        self._strides = strides_of(self.space)
        self._rows: array[int] | None = None
        self._classes: Classes | None = None
        self._keys: KeyIndex | None = None
        if self.space.writings <= MAX_RANKED:
            self._rows = self._index_ranks()
        else:
            keys = table_keys(self.space, table.decisions, table.cache)
            self._refuse_twins(keys)
            self._keys = KeyIndex(keys, np.arange(len(table)))

    def _index_ranks(self) -> array[int]:
        ranks = ranks_of(self.space, self.table.decisions)
        if self.space.distinct:
            self._classes = Classes(self.space, self.table.cache)
            ranks = self._classes.first[ranks]
            if (ranks < 0).any():
                raise GraphnasError(f"table {self.name}: a row breaks the validity rule of space {self.space.name!r}")
        self._refuse_twins(ranks)
        rows = np.full(self.space.writings, -1, dtype=np.int32)
        rows[ranks] = np.arange(len(ranks))
        if self._classes is not None:
            rows = np.where(self._classes.first >= 0, rows[self._classes.first], -1).astype(np.int32)
        return array("i", rows.tobytes())

    def _refuse_twins(self, names: np.ndarray) -> None:
        if len(np.unique(names)) != len(names):
            raise GraphnasError(
                f"table {self.name} has two rows for one architecture; merge repeated runs before making it"
            )

    def row(self, architecture: Architecture) -> int:
        """The row of an architecture, however it is written.

        Raises:
            GraphnasError: it is not in the table.
        """
        decisions = architecture.decisions_in(self.space)
        rows = self._rows
        found: int
        if rows is not None:
            if decisions is not None:
                found = rows[sum(map(mul, decisions, self._strides))]
            elif self._classes is not None:
                rank = self._classes.find(self.space.key(architecture))
                found = rows[rank] if rank >= 0 else -1
            else:
                found = rows[sum(map(mul, self.space.encode(architecture), self._strides))]
        else:
            assert self._keys is not None
            found = self._keys.find(self.space.key(architecture))
        if found < 0:
            raise GraphnasError(
                f"table {self.name} ({len(self.table)} architectures) does not hold {architecture!r:.160}"
            )
        return found

    def evaluate(self, architecture: Architecture, *, seed: int = 0) -> Evaluation:
        """The recorded validation figure; the seed changes nothing."""
        row = self.row(architecture)
        if self._reported:
            return Evaluation(self._score[row], {name: values[row] for name, values in self._reported})
        return Evaluation(self._score[row])

    def test(self, architecture: Architecture, *, seed: int = 0) -> dict[str, float]:
        """The recorded test figures by column; empty when the table has none. The seed changes nothing."""
        row = self.row(architecture)
        return {name: float(self.table.columns[name][row]) for name in self.table.test}

    def describe(self) -> dict[str, Any]:
        """Name, size and digest of the table, and the columns in use."""
        return {
            "name": self.name,
            "space": self.space.name,
            "rows": len(self.table),
            "digest": self.table.digest(),
            "score": self.metric,
            "metrics": list(self.metrics),
            "description": self.table.description,
        }


def _floats(values: np.ndarray) -> array[float]:
    # Elements of an array.array are read as Python floats three times faster than those of a numpy array.
    return array("d", np.ascontiguousarray(values, dtype=np.float64).tobytes())
