"""Accel-NASBench's measurements: ImageNet accuracy after a short schedule, and latency or throughput on six accelerators
(Ahmad et al., DATE 2024)."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphnas.data import require
from graphnas.errors import GraphnasError
from graphnas.estimators.table import Table, TableEstimator
from graphnas.listed import Listed
from spaces.accel_nasbench import EXPANSIONS, KERNELS, LAYERS, space

COMPACT = "accel_nasbench.csv.gz"
KEYS = "tables/accel_nasbench-keys.npz"
ROWS = 5138
COUNT = 5125
_HOW = "put the benchmark's table of trained networks there, as CSV"

LATENCIES = ("zcu102", "vck190")
THROUGHPUTS = ("a100", "3090", "tpuv2", "tpuv3", "zcu102", "vck190")
_LETTERS = {"e": EXPANSIONS, "k": KERNELS, "l": None, "se": (0, 1)}
METRICS = (
    "params", "macs", "latency_zcu102", "latency_vck190", "latency_a100", "latency_3090", "latency_tpuv2", "latency_tpuv3",
)  # fmt: skip


def imagenet(*, score: str = "", metrics: Sequence[str] = METRICS) -> TableEstimator:
    """Top-1 accuracy in % of the proxy schedule, and costs; a search sees the 5,125 trained networks, not the whole space."""
    return TableEstimator(table(), score=score, metrics=metrics)


def table() -> Table:
    """The 5,125 networks that were trained, of a space of 1.04e11: ``table.space`` is the list of them.

    Thirteen of them were trained and measured twice; their figures are the means.

    Columns: ``validation`` (top-1 in %), ``top5``, ``train_time`` (s), ``params``, ``macs`` (as recorded: normalisations count four
    for each value), ``latency_zcu102``, ``latency_vck190`` (ms), ``throughput_*`` of six devices (images a second), and
    ``latency_*`` of the others, which are 1000 / throughput: ms an image at the batch size of the measurement. Some of the
    measurements of devices are missing (NaN). There is no test accuracy.

    Raises:
        GraphnasError: no file, or a file that is not what it should be.
    """
    path = require(COMPACT, _HOW)
    rows = _rows(path)
    written = _decisions(path, rows)
    _, first, group = np.unique(written, axis=0, return_index=True, return_inverse=True)
    if len(first) != COUNT:
        raise GraphnasError(f"{path} has {len(first):,} distinct networks, not {COUNT:,}; get it again")
    columns = {"validation": _column(path, rows, "val_top1"), "top5": _column(path, rows, "val_top5")}
    columns["train_time"] = _column(path, rows, "train_time")
    columns["params"] = np.round(_column(path, rows, "params") * 1e6)
    columns["macs"] = _column(path, rows, "macs") * 1e6
    columns |= {f"latency_{d}": _column(path, rows, f"latency_{d}") for d in LATENCIES}
    columns |= {f"throughput_{d}": _column(path, rows, f"throughput_{d}") for d in THROUGHPUTS}
    columns |= {f"latency_{d}": 1000 / columns[f"throughput_{d}"] for d in THROUGHPUTS if d not in LATENCIES}
    order = np.sort(first)
    decisions, place = written[order], np.searchsorted(order, first)[group.reshape(-1)]
    columns = {name: _means(values, place) for name, values in columns.items()}
    return Table(
        "accel_nasbench/imagenet",
        Listed(space(), decisions),
        decisions,
        columns,
        test=(),
        description=f"Accel-NASBench, {COUNT:,} trained networks (validation of a proxy schedule)",
        cache=KEYS,
    )


def _means(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The mean of all rows of each network, ``[COUNT]``."""
    return np.asarray(np.bincount(place, values, COUNT) / np.bincount(place, minlength=COUNT))


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise GraphnasError(f"{path} is not a readable CSV file in gzip ({error}); get it again") from None
    if len(rows) != ROWS:
        raise GraphnasError(f"{path} has {len(rows):,} rows, not the {ROWS:,} of Accel-NASBench; get it again")
    return rows


def _column(path: Path, rows: Sequence[dict[str, str]], name: str) -> np.ndarray:
    try:
        found = np.array([float(row[name]) if row[name] else np.nan for row in rows])
    except (KeyError, TypeError, ValueError):
        raise GraphnasError(f"{path}: the column {name!r} is missing or not made of numbers; get it again") from None
    if not (np.isnan(found) | ((found > 0) & np.isfinite(found))).all():
        raise GraphnasError(f"{path}: the column {name!r} has a value that is not greater than 0; get it again")
    return found


def _decisions(path: Path, rows: Sequence[dict[str, str]]) -> np.ndarray:
    made = np.zeros((len(rows), len(space().radices)), dtype=np.uint8)
    for place in range(made.shape[1]):
        block, part = divmod(place, 4)
        letter, options = list(_LETTERS.items())[part]
        wanted = [str(option) for option in (options or LAYERS[block])]
        try:
            made[:, place] = [wanted.index(row[f"block{block}_{letter}"]) for row in rows]
        except (KeyError, ValueError):
            raise GraphnasError(
                f"{path}: block{block}_{letter} is missing or not among {wanted}; get it again"
            ) from None
    return made
