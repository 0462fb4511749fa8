"""Cheap numbers about architectures, such as zero-cost scores or short trainings, that predictors read beside the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.encoding.forms import classes_of
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.index import MAX_RANKED, KeyIndex, table_keys
from graphnas.estimators.table_data import Table
from graphnas.space import Space

Measure = Callable[[Sequence[Architecture]], Any]
PREFIX = "signal:"


class Signals:
    """k cheap numbers for every architecture of a space, each measured once for a canonical form.

    Isomorphic architectures share their numbers, because it is their canonical form that is measured. Every
    measurement counts: a signal is cheap, not free.

    Args:
        space: whose architectures they are about.
        names: of the k numbers, distinct.
        measure: ``measure(architectures) -> [n, k]`` finite numbers of n canonical forms; None when all that will be asked
            is ``known`` (as in a predictor that was loaded from a file).
        known: numbers ``[k]`` by canonical key, measured before.

    Attributes:
        evaluations: how many architectures have been measured, by this object or before it was saved.

    Raises:
        GraphnasError: no names, or equal ones.
    """

    def __init__(
        self,
        space: Space,
        names: Sequence[str],
        measure: Measure | None,
        known: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.space = space
        self.names = tuple(names)
        if not self.names or len(set(self.names)) < len(self.names):
            raise GraphnasError(f"signals need distinct names, one for each number, not {list(self.names)}")
        self.measure = measure
        self._known = dict(known or {})
        self.evaluations = len(self._known)

    @classmethod
    def of_table(cls, table: Table, columns: Sequence[str]) -> Signals:
        """Columns of a table of results, as recorded for the first writing of each canonical form.

        Raises:
            GraphnasError: no columns, an unknown one, the validation column, or a test column.
        """
        if not columns:
            raise GraphnasError("signals of a table need the names of its columns, such as params")
        for column in columns:
            if column in (table.validation, *table.test):
                raise GraphnasError(
                    f"table {table.name}: {column!r} is what is predicted or what a report reads; it is no cheap signal"
                )
            if column not in table.columns:
                raise unknown(
                    f"column of table {table.name}:", column, set(table.columns) - {table.validation, *table.test}
                )
        recorded = np.stack([np.asarray(table.columns[column], dtype=np.float64) for column in columns], axis=1)
        large = table.space.writings > MAX_RANKED  # the cache of a small space holds something else
        index = KeyIndex(table_keys(table.space, table.decisions, table.cache if large else ""), np.arange(len(table)))

        def measure(forms: Sequence[Architecture]) -> np.ndarray:
            rows = [index.find(table.space.key(form)) for form in forms]
            if min(rows) < 0:
                raise GraphnasError(
                    f"table {table.name} ({len(table)} architectures) has no signals of {forms[rows.index(-1)]!r:.120}; "
                    "give reference=0 to a predictor that shall see no others than the table's"
                )
            return np.asarray(recorded[rows])

        return cls(table.space, columns, measure)

    def __call__(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """The numbers ``[n, k]`` (float64) of n architectures; those that are not known yet are measured.

        Raises:
            GraphnasError: the measure gives another shape, or a number that is not finite; or there is no measure.
        """
        forms, member = classes_of(self.space, architectures)
        keys = [self.space.key(form) for form in forms]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        if new:
            rows = self._measured([forms[i] for i in new])
            self._known.update((keys[i], row) for i, row in zip(new, rows, strict=True))
            self.evaluations += len(new)
        found = [self._known[key] for key in keys]
        return np.reshape([found[i] for i in member], (len(member), len(self.names)))

    def _measured(self, forms: Sequence[Architecture]) -> np.ndarray:
        if self.measure is None:
            raise GraphnasError(
                f"the signals {', '.join(self.names)} of {len(forms)} architectures are not known; "
                "set predictor.signals.measure to the function that measures them"
            )
        rows = np.asarray(self.measure(forms), dtype=np.float64)
        if rows.shape != (len(forms), len(self.names)):
            raise GraphnasError(
                f"the signals of {len(forms)} architectures have the shape {list(rows.shape)}; "
                f"give one row each with {', '.join(self.names)}"
            )
        bad = np.argwhere(~np.isfinite(rows))
        if len(bad):
            row, column = bad[0]
            raise GraphnasError(
                f"signal {self.names[column]} of {forms[row]!r:.120} is {rows[row, column]}; "
                "give a finite number, such as the worst that occurs, where a measurement fails"
            )
        return rows

    def groups(self, forms: Sequence[Architecture]) -> dict[str, np.ndarray]:
        """A group of one column ``[n, 1]`` for each signal, so that a process weighs every signal by itself."""
        values = self(forms)
        return {f"{PREFIX}{name}": values[:, [i]] for i, name in enumerate(self.names)}

    def arrays(self) -> dict[str, np.ndarray]:
        """Names and all that was measured, for a file; the measure itself is not in it."""
        values = np.reshape(list(self._known.values()), (len(self._known), len(self.names)))
        return {
            "signals.names": np.array(self.names),
            "signals.keys": np.array(list(self._known), dtype=np.str_),
            "signals.values": values,
        }

    @classmethod
    def of_arrays(cls, space: Space, arrays: Mapping[str, np.ndarray]) -> Signals | None:
        """The inverse of ``arrays``, None where a file has no signals (ValueError or KeyError when it is damaged)."""
        if "signals.names" not in arrays:
            return None
        names, keys, values = (arrays[f"signals.{part}"] for part in ("names", "keys", "values"))
        if names.ndim != 1 or names.dtype.kind != "U" or keys.ndim != 1 or keys.dtype.kind != "U":
            raise ValueError("the signals' names or keys are no texts")
        if values.shape != (len(keys), len(names)) or values.dtype != np.float64 or not np.isfinite(values).all():
            raise ValueError("the signals have a wrong shape or are not finite")
        return cls(space, names.tolist(), None, dict(zip(keys.tolist(), values, strict=True)))


def without_signals(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A predictor's arguments without its Signals, which are no JSON value and are saved as arrays."""
    return {name: value for name, value in arguments.items() if name != "signals"}
