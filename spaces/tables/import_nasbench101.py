"""Converts NAS-Bench-101's ``nasbench_only108.tfrecord`` or ``nasbench_full.tfrecord`` (Ying et al., ICML 2019)."""

from __future__ import annotations

import base64
import binascii
import json
import math
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from graphnas.data import cache_path
from graphnas.errors import GraphnasError
from graphnas.estimators.index import table_keys
from graphnas.estimators.table_data import save_table
from spaces.nasbench101 import COUNT, from_matrix, space
from spaces.tables.tfrecord import message_fields, read_records

RUNS = 3
_MALFORMED = (ValueError, TypeError, KeyError, IndexError, RecursionError, binascii.Error, GraphnasError)
IMPORTED = "tables/nasbench101.npz"
KEYS = "tables/nasbench101-keys.npz"
# Fields of ModelMetrics and EvaluationData in the benchmark's model_metrics.proto.
_EVALUATION, _PARAMETERS = 1, 2
_EPOCH, _TIME, _VALIDATION, _TEST = 1, 2, 4, 5


def convert(source: Path, target: Path | None = None, *, partial: bool = False) -> Path:
    """Write the compact table of an official file.

    Columns: ``validation`` and ``test`` after 108 epochs, and ``validation_4`` ... ``validation_36`` where the file has
    these budgets, all in % and as mean over the runs; ``params``; ``training_time`` (seconds of the 108 epochs).
    Nothing is trusted: checksums, JSON, messages, ranges, the number of cells and runs, and that no cell occurs twice
    are all checked. Nothing in the format can run code.

    Args:
        source: the TFRecord file.
        target: the npz file to write; by default where the tables look for it, in the cache folder.
        partial: accept less than the 423,624 cells with three runs each.

    Raises:
        GraphnasError: the file is not what it should be.
    """
    target = target or cache_path(IMPORTED)
    cells = _Cells()
    for number, record in enumerate(read_records(source)):
        try:
            cells.add(record)
        except _MALFORMED as error:  # noqa: PERF203 -- the message names the record
            raise GraphnasError(f"{source}: record {number} is not one of NAS-Bench-101 ({error})") from None
    if not partial and len(cells.index) != COUNT:
        raise GraphnasError(
            f"{source} holds {len(cells.index)} cells; the complete benchmark has {COUNT}: get it again"
        )
    decisions = np.frombuffer(cells.decisions, dtype=np.uint8).reshape(len(cells.index), -1)
    columns = cells.columns(source, RUNS if not partial else None)
    keys = table_keys(space(), decisions, "" if partial else KEYS)
    if len(np.unique(keys)) != len(keys):
        raise GraphnasError(f"{source} holds one cell under two hashes; it is not the official file")
    return save_table(target, space(), decisions, columns, f"NAS-Bench-101, {source.name}")


class _Cells:
    """Sums over runs for each cell, filled record by record."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.decisions = bytearray()
        self.params = array("d")
        self.sums: dict[int, list[array[float]]] = {}  # epochs -> runs, validation, test, time by cell

    def add(self, record: bytes) -> None:
        name, epochs, adjacency, operations, encoded = json.loads(record)
        if not isinstance(name, str) or epochs not in (4, 12, 36, 108):
            raise ValueError(f"hash {name!r}, epochs {epochs!r}")
        params, validation, test, seconds = _final(base64.b64decode(encoded, validate=True))
        cell = self.index.get(name)
        if cell is None:
            cell = self.index[name] = len(self.index)
            size = math.isqrt(len(adjacency))
            matrix = np.array([int(bit) for bit in adjacency], dtype=np.int8).reshape(size, size)
            self.decisions += bytes(space().encode(from_matrix(matrix, operations.split(","))))
            self.params.append(params)
        if self.params[cell] != params:
            raise ValueError("two runs of one cell differ in their number of parameters")
        sums = self.sums.setdefault(epochs, [array("d") for _ in range(4)])
        for total, value in zip(sums, (1.0, validation, test, seconds), strict=True):
            if len(total) <= cell:
                total.extend([0.0] * (cell + 1 - len(total)))
            total[cell] += value

    def columns(self, source: Path, runs: int | None) -> dict[str, np.ndarray]:
        made: dict[str, np.ndarray] = {}
        for epochs, sums in sorted(self.sums.items(), reverse=True):
            count, validation, test, seconds = (np.array(values) for values in sums)
            if len(count) != len(self.index) or (count < 1).any() or (runs is not None and (count != runs).any()):
                raise GraphnasError(f"{source} lacks runs of {epochs} epochs for some cells; get it again")
            if epochs == 108:
                made["validation"], made["test"] = 100 * validation / count, 100 * test / count
                made["training_time"] = seconds / count
            else:
                made[f"validation_{epochs}"] = 100 * validation / count
        if "validation" not in made:
            raise GraphnasError(f"{source} has no runs of 108 epochs; it is not a complete file of NAS-Bench-101")
        return {**made, "params": np.array(self.params, dtype=np.int64)}


def _final(message: bytes) -> tuple[int, float, float, float]:
    """Parameters, and validation accuracy, test accuracy and training time at the end of one run."""
    evaluations: list[dict[int, Any]] = []
    params: int | float | bytes = 0
    for number, value in message_fields(message):
        if number == _EVALUATION and isinstance(value, bytes):
            evaluations.append(dict(message_fields(value)))
        elif number == _PARAMETERS:
            params = value
    if len(evaluations) != 3:  # before training, half-way, end
        raise ValueError(f"{len(evaluations)} evaluations instead of 3")
    last = evaluations[2]
    validation, test, seconds = (float(last[field]) for field in (_VALIDATION, _TEST, _TIME))
    if not (0 <= validation <= 1 and 0 <= test <= 1 and 0 <= seconds < math.inf):
        raise ValueError(f"accuracies {validation}, {test} or time {seconds} out of range")
    if not isinstance(params, int) or not 0 < params < 1 << 31:
        raise ValueError(f"{params!r} parameters")
    return params, validation, test, seconds
