"""NAS-Bench-Graph's results on nine node classification data sets (Qin et al., NeurIPS 2022)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from graphnas.data import cache_path, find
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.table import Table, TableEstimator
from graphnas.estimators.table_data import load_table, save_table
from spaces.nasbench_graph import space
from spaces.tables.import_nasbench_graph import DATASETS, IMPORTED, read_bench

CLASSES = "tables/nasbench_graph-classes.npz"
_PACKAGE = "nas-bench-graph"


def cora(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """Cora: accuracy in %; see ``table`` for the columns."""
    return TableEstimator(table("cora"), score=score, metrics=metrics)


def citeseer(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """CiteSeer: accuracy in %; see ``table`` for the columns."""
    return TableEstimator(table("citeseer"), score=score, metrics=metrics)


def pubmed(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """PubMed: accuracy in %; see ``table`` for the columns."""
    return TableEstimator(table("pubmed"), score=score, metrics=metrics)


def cs(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """Coauthor CS: accuracy in %; see ``table`` for the columns."""
    return TableEstimator(table("cs"), score=score, metrics=metrics)


def physics(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """Coauthor Physics: accuracy in %; see ``table`` for the columns."""
    return TableEstimator(table("physics"), score=score, metrics=metrics)


def photo(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """Amazon Photo: accuracy in %; see ``table`` for the columns."""
    return TableEstimator(table("photo"), score=score, metrics=metrics)


def computers(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """Amazon Computers: accuracy in %; see ``table`` for the columns."""
    return TableEstimator(table("computers"), score=score, metrics=metrics)


def arxiv(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """ogbn-arxiv: accuracy in %; see ``table`` for the columns."""
    return TableEstimator(table("arxiv"), score=score, metrics=metrics)


def proteins(*, score: str = "", metrics: Sequence[str] = ("params",)) -> TableEstimator:
    """ogbn-proteins: ROC-AUC in %, for 2,021 architectures of gcn, sage, arma, fc and skip only; see ``table``."""
    return TableEstimator(table("proteins"), score=score, metrics=metrics)


def table(dataset: str) -> Table:
    """The table of one data set: ``validation`` and ``test`` in %, ``latency`` in ms, ``params``.

    An imported table is preferred; otherwise the light file of the installed package ``nas-bench-graph`` is read
    (without importing the package), and cached where the cache folder can be written.

    Raises:
        GraphnasError: unknown data set, the package is missing, or a file is not what it should be.
    """
    if dataset not in DATASETS:
        raise unknown("NAS-Bench-Graph data set", dataset, DATASETS)
    name, relative = f"nasbench_graph/{dataset}", f"{IMPORTED}/{dataset}.npz"
    found, package = find(relative), _package()
    source = f"{_PACKAGE} {package[0]}, light/{dataset}.bench" if package else ""
    if found is not None:
        try:
            decisions, columns, stored = load_table(found, space())
        except GraphnasError:
            if package is None:
                raise
        else:  # what another version of the package gave is read anew
            if package is None or stored == source or not stored.startswith(f"{_PACKAGE} "):
                return Table(name, space(), decisions, columns, description=stored, cache=CLASSES)
    if package is None:
        raise GraphnasError(
            f"the table of {dataset} is missing; run `pip install {_PACKAGE}`, or import {dataset}.bench by "
            "`graphnas import nasbench_graph FILE`"
        )
    decisions, columns = read_bench(package[1] / f"{dataset}.bench", dataset)
    with contextlib.suppress(GraphnasError):  # a cache that cannot be written only costs time
        save_table(cache_path(relative), space(), decisions, columns, source)
    return Table(name, space(), decisions, columns, description=source, cache=CLASSES)


def _package() -> tuple[str, Path] | None:
    """Version and folder of the light files of the installed package."""
    try:
        installed = distribution(_PACKAGE)
    except PackageNotFoundError:
        return None
    for file in installed.files or ():
        if file.name == "cora.bench" and file.parent.name == "light":
            return installed.version, Path(str(file.locate())).parent
    return None
