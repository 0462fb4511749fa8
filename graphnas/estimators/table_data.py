"""A benchmark table in memory and as one compact npz file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graphnas.errors import GraphnasError, unknown
from graphnas.files import load_npz, save_npz
from graphnas.space import Space

FORMAT = "graphnas.table"
VERSION = 1


@dataclass(frozen=True)
class Table:
    """Results of n architectures, one row each.

    Attributes:
        name: "nasbench201/cifar10".
        space: what the decisions refer to.
        decisions: ``[n, d]`` integers; no architecture twice (up to isomorphism where the space is ``distinct``).
        columns: figures ``[n]`` by name; ``validation`` (selection, larger is better) and all of ``test`` must be
            finite, others may hold NaN.
        validation: the column that a search sees.
        test: columns that only a report reads.
        description: where the figures come from, in one sentence.
        cache: relative name in the cache folder for the index of this table's (or its space's) keys; "" keeps none.

    Raises:
        GraphnasError: shapes that do not fit, decisions out of range, missing columns, or values that are not finite.
    """

    name: str
    space: Space
    decisions: np.ndarray
    columns: Mapping[str, np.ndarray]
    validation: str = "validation"
    test: tuple[str, ...] = ("test",)
    description: str = ""
    cache: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_decisions(self.name, self.space, self.decisions)
        for column in (self.validation, *self.test):
            if column not in self.columns:
                raise unknown(f"column of table {self.name}:", column, self.columns)
        for column, values in self.columns.items():
            if values.shape != (len(self),) or values.dtype.kind not in "iuf":
                raise GraphnasError(
                    f"table {self.name}: column {column!r} has shape {values.shape} and type {values.dtype}; "
                    f"{len(self)} numbers are expected"
                )
            if column in (self.validation, *self.test) and not np.isfinite(values).all():
                raise GraphnasError(f"table {self.name}: column {column!r} has values that are not finite")

    def __len__(self) -> int:
        return len(self.decisions)

    def digest(self) -> str:
        """16 digits of what a search depends on: decisions and validation column."""
        made = hashlib.blake2b(np.ascontiguousarray(self.decisions, dtype=np.int16).tobytes(), digest_size=8)
        made.update(np.ascontiguousarray(self.columns[self.validation], dtype=np.float64).tobytes())
        return made.hexdigest()


def check_decisions(name: str, space: Space, decisions: np.ndarray) -> None:
    """Raise a GraphnasError unless ``decisions`` is ``[n, d]`` of integers within the radices of the space."""
    wanted = len(space.radices)
    if decisions.ndim != 2 or decisions.shape[1] != wanted or not len(decisions) or decisions.dtype.kind not in "iu":
        raise GraphnasError(
            f"table {name}: decisions of shape {decisions.shape} and type {decisions.dtype} do not fit; "
            f"integers [n, {wanted}] are expected"
        )
    if (decisions < 0).any() or (decisions >= np.array(space.radices)).any():
        raise GraphnasError(f"table {name}: a decision is out of the range of space {space.name!r}")


def save_table(path: Path, space: Space, decisions: np.ndarray, columns: Mapping[str, np.ndarray], source: str) -> Path:
    """Write decisions ``[n, d]`` and columns ``[n]`` as one compact npz file.

    Raises:
        GraphnasError: they do not fit each other or the space, or the file cannot be written.
    """
    check_decisions(path.name, space, decisions)
    header = {"format": FORMAT, "version": VERSION, "space": space.name, "choices": _choices(space), "source": source}
    for name, values in columns.items():
        if values.shape != (len(decisions),):
            raise GraphnasError(
                f"{path.name}: column {name!r} has shape {values.shape}; {len(decisions)} numbers are expected"
            )
    return save_npz(
        path,
        {
            "header": np.array(json.dumps(header)),
            "decisions": decisions.astype(np.uint8 if max(space.radices) <= 256 else np.int16),
            **{f"column:{name}": values for name, values in columns.items()},
        },
    )


def load_table(path: Path, space: Space) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """Read what ``save_table`` wrote: decisions ``[n, d]``, columns ``[n]`` by name, and the source.

    Raises:
        GraphnasError: missing, truncated, no table, of another space, or with shapes or types that do not fit.
    """
    arrays = load_npz(path)
    try:
        header = json.loads(str(arrays["header"]))
        described = header["format"], header["version"], header["space"], header["choices"]
        source, decisions = str(header["source"]), arrays["decisions"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise GraphnasError(f"{path} is no table of graphnas; import the benchmark again") from None
    if described != (FORMAT, VERSION, space.name, _choices(space)):
        raise GraphnasError(
            f"{path} was written for another format or another form of space {space.name!r}; import the benchmark again"
        )
    check_decisions(str(path), space, decisions)
    columns = {name.removeprefix("column:"): values for name, values in arrays.items() if name.startswith("column:")}
    for name, values in columns.items():
        if values.shape != (len(decisions),) or values.dtype.kind not in "iuf":
            raise GraphnasError(f"{path}: column {name!r} is not {len(decisions)} numbers; import the benchmark again")
    return decisions, columns, source


def _choices(space: Space) -> list[list[Any]]:
    return [[c.name, [str(option) for option in c.options]] for c in space.choices]
