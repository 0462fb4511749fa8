"""Turns the official files of a benchmark, as users have them, into compact tables."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from graphnas.data import cache_folder
from graphnas.errors import GraphnasError, unknown

# benchmark -> (module with ``convert``, what it writes below the cache folder)
IMPORTERS = {
    "enas6": ("spaces.tables.import_enas", "tables/enas6.npz"),
    "nasbench101": ("spaces.tables.import_nasbench101", "tables/nasbench101.npz"),
    "nasbench201": ("spaces.tables.import_nasbench201", "tables/nasbench201.npz"),
    "nasbench_graph": ("spaces.tables.import_nasbench_graph", "tables/nasbench_graph"),
}


def import_benchmark(benchmark: str, source: Path, cache: Path | None = None, *, partial: bool = False) -> Path:
    """Convert official files; the tables of the benchmark use the result from then on.

    Args:
        benchmark: "enas6", "nasbench101", "nasbench201" or "nasbench_graph".
        source: the file or folder; which ones, and what is trusted, is said by each ``convert``.
        cache: the cache folder to write to (by default ``GRAPHNAS_CACHE`` or the user's).
        partial: accept a file that holds only a part of the benchmark.

    Returns:
        What was written.

    Raises:
        GraphnasError: unknown benchmark, or a file that is missing or not what it should be; nothing is written then.
    """
    if benchmark not in IMPORTERS:
        raise unknown("benchmark", benchmark, IMPORTERS)
    if not source.exists():
        raise GraphnasError(f"{source} does not exist")
    module, relative = IMPORTERS[benchmark]
    written = import_module(module).convert(source, (cache or cache_folder()) / relative, partial=partial)
    assert isinstance(written, Path)
    return written
