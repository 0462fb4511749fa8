"""Converts NAS-Bench-Graph's ``*.bench`` files, light and full (Qin et al., NeurIPS 2022)."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from graphnas.data import cache_path
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.table_data import save_table
from graphnas.foreign import NUMBERS, load_pickle
from spaces.nasbench_graph import space

DATASETS = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins")
COUNTS = {**dict.fromkeys(DATASETS, 26_206), "proteins": 2_021}
IMPORTED = "tables/nasbench_graph"
_NAME = re.compile(r"([a-z]+)\d?\.bench")
_MAX_LIGHT = 64 << 20
_MAX_FULL = 8 << 30
Rows = tuple[np.ndarray, dict[str, np.ndarray]]


def convert(source: Path, target: Path | None = None, *, partial: bool = False) -> Path:
    """Write the compact tables of one ``.bench`` file, or of all in a folder.

    A light file (``cora.bench``) holds means over three runs. A full file (``cora0.bench``) holds one run; where its
    records lack ``valid_perf`` and ``perf``, the first epoch of best validation performance is taken from ``dur``.
    ``cora0.bench``, ``cora1.bench`` and ``cora2.bench`` of a folder are averaged, unless ``cora.bench`` is there.

    What it trusts: the pickle reader admits numbers and containers only and cannot run code. All values are checked.

    Args:
        source: a file named after its data set, or a folder of them.
        target: the folder in which ``<data set>.npz`` is written; by default the one where the tables look.
        partial: accept less than the full number of architectures.

    Returns:
        The file written, or ``target`` when ``source`` is a folder.

    Raises:
        GraphnasError: a file is not what it should be.
    """
    target = target or cache_path(IMPORTED)
    files = sorted(p for p in source.iterdir() if _NAME.fullmatch(p.name)) if source.is_dir() else [source]
    groups: dict[str, list[Path]] = {}
    for path in files:
        match = _NAME.fullmatch(path.name)
        if match is None or match[1] not in DATASETS:
            raise unknown("NAS-Bench-Graph file", path.name, [f"{d}.bench" for d in DATASETS])
        groups.setdefault(match[1], []).append(path)
    if not groups:
        raise GraphnasError(f"{source} holds no file like cora.bench or cora0.bench")
    made = {}
    for dataset, runs in groups.items():
        light = [p for p in runs if p.stem == dataset]
        made[dataset] = light or runs, _mean([read_bench(p, dataset, partial=partial) for p in light or runs])
    for dataset, (used, (decisions, columns)) in made.items():  # only when all are read
        label = f"NAS-Bench-Graph, {', '.join(p.name for p in used)}"
        written = save_table(target / f"{dataset}.npz", space(), decisions, columns, label)
    return target if source.is_dir() else written


def read_bench(source: Path, dataset: str, *, partial: bool = False) -> Rows:
    """Decisions ``[n, 5]`` (uint8) and columns ``[n]`` of one file, in the order of the benchmark's numbers.

    Columns: ``validation`` and ``test`` in % (accuracy; ROC-AUC on proteins), ``latency`` in ms, ``params``.

    Raises:
        GraphnasError: as ``convert``.
    """
    record = load_pickle(source, NUMBERS, max_bytes=_MAX_LIGHT if source.stem == dataset else _MAX_FULL)
    if not isinstance(record, dict) or not all(isinstance(number, int) for number in record):
        raise GraphnasError(f"{source} is not a dictionary from architecture numbers to results")
    if not record or (not partial and len(record) != COUNTS[dataset]):
        raise GraphnasError(
            f"{source} holds {len(record)} architectures; {dataset} has {COUNTS[dataset]}: get it again"
        )
    numbers = np.array(sorted(record), dtype=np.int64)
    digits = np.stack([numbers // 10**k % 10 for k in (4, 3, 2, 1, 0)], axis=1)
    if numbers[0] < 0 or numbers[-1] >= 90_000 or (digits > 8).any() or (digits[:, 1:] == 8).all(axis=1).any():
        raise GraphnasError(f"{source} holds a number that is no architecture of NAS-Bench-Graph")
    try:
        values = np.array([_figures(record[number]) for number in numbers.tolist()], dtype=np.float64)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise GraphnasError(f"{source}: a result is not in the form of NAS-Bench-Graph ({error!r})") from None
    accuracy = values[:, :2]
    if not ((accuracy >= 0) & (accuracy <= 1)).all():
        raise GraphnasError(f"{source} holds a performance outside of 0 to 1")
    columns = {"validation": 100 * values[:, 0], "test": 100 * values[:, 1], "latency": 1e3 * values[:, 2]}
    columns["params"] = np.rint(1e6 * values[:, 3])
    return digits.astype(np.uint8), {name: c for name, c in columns.items() if np.isfinite(c).all()}


def _figures(result: Any) -> tuple[float, float, float, float]:
    """Validation, test, latency in seconds, millions of parameters; NaN for missing costs."""
    if "valid_perf" in result and "perf" in result:
        valid, test = float(result["valid_perf"]), float(result["perf"])
    else:
        epochs = result["dur"]
        best = max(range(len(epochs)), key=lambda i: float(epochs[i][1]))  # the first of equals
        valid, test = float(epochs[best][1]), float(epochs[best][2])
    return valid, test, float(result.get("latency", math.nan)), float(result.get("para", math.nan))


def _mean(runs: list[Rows]) -> Rows:
    decisions, first = runs[0]
    if any(not np.array_equal(decisions, other) for other, _ in runs[1:]):
        raise GraphnasError("the runs of one data set hold different architectures; import them one by one")
    return decisions, {
        name: np.mean([c[name] for _, c in runs], axis=0) for name in first if all(name in c for _, c in runs)
    }
