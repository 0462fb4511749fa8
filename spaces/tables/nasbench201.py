"""NAS-Bench-201's results on three image data sets (Dong & Yang, ICLR 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphnas.data import find, require
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.table import Table, TableEstimator
from graphnas.estimators.table_data import load_table
from graphnas.files import load_npz
from spaces.nasbench201 import EDGES, OPS, space
from spaces.tables.import_nasbench201 import COUNT, IMPORTED

DATASETS = {"cifar10": "c10", "cifar100": "c100", "imagenet16-120": "in16"}
COMPACT = "nb201.npz"
LATENCIES = "nb201_latency_help.npz"
_HOW = "run `graphnas import nasbench201 FILE` on NAS-Bench-201-v1_1-096897.pth or NATS-tss-v1_0-3ffb9-simple.tar"
_COMPACT_COLUMNS = {
    "validation": "val200",
    "test": "test200",
    "validation_12": "val12",
    "test_12": "test12",
    "params": "params",
    "flops": "flops",
}
_ZERO_COST = {"zen": "zen"}
_TEST = ("test", "test_12")


def cifar10(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """CIFAR-10: accuracies in %; see ``table`` for the columns."""
    return _estimator("cifar10", score, metrics)


def cifar100(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """CIFAR-100: accuracies in %; see ``table`` for the columns."""
    return _estimator("cifar100", score, metrics)


def imagenet16_120(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """ImageNet-16-120: accuracies in %; see ``table`` for the columns."""
    return _estimator("imagenet16-120", score, metrics)


def _estimator(dataset: str, score: str, metrics: Sequence[str]) -> TableEstimator:
    latencies = any(name.startswith("latency/") for name in (score, *metrics))
    return TableEstimator(table(dataset, latencies=latencies), score=score, metrics=metrics)


def table(dataset: str, *, latencies: bool = False) -> Table:
    """The table of one data set; rows are in the order of the official index.

    Columns: ``validation``, ``test`` (200 epochs), ``validation_12``, ``test_12`` (12 epochs), all in %; ``params``;
    ``flops`` (multiply-adds); the compact file also has the zero-cost score ``zen`` (Lin et al., ICCV 2021). An imported table is preferred to the compact file of a data folder; the former has means
    over all trials, the latter one trial's validation.

    Args:
        dataset: "cifar10", "cifar100" or "imagenet16-120".
        latencies: add ``latency/<device>`` in ms for the 27 devices of HELP (Lee et al., NeurIPS 2021).

    Raises:
        GraphnasError: unknown data set, no file, or a file that is not what it should be.
    """
    if dataset not in DATASETS:
        raise unknown("NAS-Bench-201 data set", dataset, DATASETS)
    imported = find(IMPORTED)
    if imported is not None:
        decisions, everything, source = load_table(imported, space())
        columns = {n.split("/", 1)[1]: c for n, c in everything.items() if n.startswith(f"{dataset}/")}
    else:
        decisions, columns = _compact(require(COMPACT, _HOW), dataset)
        source = f"NAS-Bench-201, {COMPACT} (validation of one trial)"
    if latencies:
        columns |= _latencies(decisions)
    test = tuple(name for name in _TEST if name in columns)
    return Table(f"nasbench201/{dataset}", space(), decisions, columns, test=test, description=source)


def _compact(path: Path, dataset: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    prefix = DATASETS[dataset]
    names = {column: f"{prefix}_{name}" for column, name in (_COMPACT_COLUMNS | _ZERO_COST).items()}
    data = load_npz(path, ["ops", "op_names", "edges", *names.values()])
    if (
        data["ops"].shape != (COUNT, len(EDGES))
        or tuple(data["op_names"].tolist()) != OPS
        or data["edges"].tolist() != [list(edge) for edge in EDGES]
    ):
        raise GraphnasError(
            f"{path} does not hold the {COUNT} cells of NAS-Bench-201 in the expected order; get it again"
        )
    columns = {column: data[name] for column, name in names.items()}
    for column, values in columns.items():
        if values.dtype == np.float32:  # the file holds four decimals
            columns[column] = values.astype(np.float64).round(4)
        share = column not in _ZERO_COST and values.dtype.kind == "f"  # accuracies in %
        possible = np.isfinite(values) if column in _ZERO_COST else (values >= 0) & ((values <= 100) | (not share))
        if values.shape != (COUNT,) or not possible.all():
            raise GraphnasError(f"{path}: {names[column]} has a wrong shape or values out of range; get it again")
    return data["ops"], columns


def _latencies(decisions: np.ndarray) -> dict[str, np.ndarray]:
    path = require(LATENCIES, "leave out the latency columns")
    data = load_npz(path, ["devices", "latency_ms"])
    devices, values = data["devices"].tolist(), data["latency_ms"]
    if values.shape != (COUNT, len(devices)) or len(decisions) != COUNT or not (values > 0).all():
        raise GraphnasError(f"{path} does not hold the latencies of {COUNT} cells; get it again")
    return {f"latency/{device}": values[:, i] for i, device in enumerate(devices)}
