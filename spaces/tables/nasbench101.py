"""NAS-Bench-101's results on CIFAR-10 (Ying et al., ICML 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphnas.data import find, require
from graphnas.errors import GraphnasError
from graphnas.estimators.index import table_keys
from graphnas.estimators.table import Table, TableEstimator
from graphnas.estimators.table_data import load_table
from graphnas.files import load_npz
from spaces.nasbench101 import from_matrix, space
from spaces.tables.import_nasbench101 import IMPORTED, KEYS

SAMPLE = "nb101_500.npz"
ZERO_COST = ("snip", "jacov", "grad_norm", "plain", "epe_nas", "fisher", "grasp", "l2_norm", "synflow")
_HOW = "run `graphnas import nasbench101 FILE` on nasbench_only108.tfrecord or nasbench_full.tfrecord"


def cifar10(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """CIFAR-10: accuracies in %; see ``table`` for the columns."""
    return TableEstimator(table(), score=score, metrics=metrics)


def table() -> Table:
    """The imported table (423,624 cells), or else the 500-row sample of a data folder.

    Columns of the former: see ``import_nasbench101.convert``. The sample has ``validation`` (%, 108 epochs),
    ``params``, ``flops`` and the zero-cost scores of ``ZERO_COST`` (Abdelfattah et al., ICLR 2021; jacov and epe_nas by their
    authors), and no test results. Its rows were drawn with replacement from single runs: rows of one
    cell are repeated runs (at most three distinct values, as the benchmark has), so the mean over the distinct values
    is taken. ``params`` and ``flops`` of isomorphic writings can differ by a fraction of a percent, because the
    benchmark gives the channels that remain after dividing to the first vertices; the mean is taken, too.

    Raises:
        GraphnasError: no file, or a file that is not what it should be.
    """
    imported = find(IMPORTED)
    if imported is None:
        return _sample(require(SAMPLE, _HOW))
    decisions, columns, source = load_table(imported, space())
    return Table("nasbench101/cifar10", space(), decisions, columns, description=source, cache=KEYS)


def _sample(path: Path) -> Table:
    data = load_npz(path, ["adj", "ops", "op_names", "val_accuracy", "params", "flops", *ZERO_COST])
    names = [str(name) for name in data["op_names"].tolist()]
    adjacency, ops = data["adj"], data["ops"]
    rows = len(adjacency)
    if adjacency.shape != (rows, 7, 7) or ops.shape != (rows, 7) or ops.min() < 0 or ops.max() >= len(names):
        raise GraphnasError(f"{path} does not hold cells of NAS-Bench-101; get it again")
    measured = {"validation": data["val_accuracy"], "params": 1e6 * data["params"], "flops": 1e6 * data["flops"]}
    if any(values.shape != (rows,) or not (values > 0).all() for values in measured.values()):
        raise GraphnasError(f"{path} has columns of another length, or values that are not positive; get it again")
    measured |= {name: data[name].astype(np.float64) for name in ZERO_COST}
    if any(values.shape != (rows,) or not np.isfinite(values).all() for values in measured.values()):
        raise GraphnasError(f"{path} has zero-cost scores of another length, or that are not finite; get it again")
    cells = [from_matrix(m, [names[o] for o in row]) for m, row in zip(adjacency, ops, strict=True)]
    decisions = np.array([space().encode(cell) for cell in cells], dtype=np.uint8)
    keys = table_keys(space(), decisions)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    columns = {
        name: np.array([np.unique(values[group == g]).mean(dtype=np.float64) for g in range(len(first))])
        for name, values in measured.items()
    }
    description = (
        f"NAS-Bench-101, a sample of {rows} runs of {len(first)} cells only ({path.name}), without test results"
    )
    return Table("nasbench101/cifar10", space(), decisions[first], columns, test=(), description=description)
