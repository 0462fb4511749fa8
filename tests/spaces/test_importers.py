"""NAS-Bench-Graph's files, light and full, and what all importers share."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from graphnas.errors import GraphnasError
from graphnas.estimators.table import TableEstimator
from spaces.tables import nasbench_graph
from spaces.tables.import_nasbench_graph import convert
from spaces.tables.importers import import_benchmark


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GRAPHNAS_DATA", raising=False)
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def refused(benchmark: str, source: Path, message: str, cache: Path, partial: bool = True) -> None:
    """The import fails with one sentence and leaves no table."""
    with pytest.raises(GraphnasError, match=message) as caught:
        import_benchmark(benchmark, source, partial=partial)
    assert "\n" not in str(caught.value)
    assert not [p for p in cache.rglob("*") if p.is_file()]


def test_light_files_give_the_tables_of_the_package(tmp_path: Path, cache: Path) -> None:
    package = nasbench_graph._package()
    assert package is not None
    table = nasbench_graph.table("cora")
    assert convert(package[1] / "cora.bench") == cache / "tables" / "nasbench_graph" / "cora.npz"
    written = import_benchmark("nasbench_graph", package[1] / "cora.bench", tmp_path / "elsewhere")
    assert written == tmp_path / "elsewhere" / "tables" / "nasbench_graph" / "cora.npz"
    assert (
        import_benchmark("nasbench_graph", package[1] / "cora.bench")
        == cache / "tables" / "nasbench_graph" / "cora.npz"
    )
    imported = nasbench_graph.table("cora")
    assert imported.description == "NAS-Bench-Graph, cora.bench"
    assert imported.digest() == table.digest()
    for name, values in table.columns.items():
        np.testing.assert_array_equal(imported.columns[name], values)


def full(path: Path, seed: int) -> dict[int, list[list[float]]]:
    """A file of the complete form: per epoch training, validation, test performance, three losses, best performance."""
    rng = np.random.default_rng(seed)
    epochs = {number: rng.random((30, 7)).tolist() for number in (0, 1234, 85178)}
    epochs[1234][7][1] = epochs[1234][4][1] = 1.0  # the first of equal bests counts
    path.write_bytes(
        pickle.dumps({n: {"dur": e, "latency": 0.001 * seed, "para": np.float64(0.5)} for n, e in epochs.items()}, 3)
    )
    return epochs


def test_full_files_are_read_at_the_best_validation_epoch_and_averaged(tmp_path: Path) -> None:
    folder = tmp_path / "benches"
    folder.mkdir()
    runs = [full(folder / f"cora{seed}.bench", seed) for seed in (1, 2)]
    best = [{n: max(e, key=lambda x: x[1]) for n, e in run.items()} for run in runs]
    assert best[0][1234] is runs[0][1234][4]
    for source, used in ((folder / "cora1.bench", best[:1]), (folder, best)):
        import_benchmark("nasbench_graph", source, partial=True)
        estimator = TableEstimator(nasbench_graph.table("cora"), metrics=["latency", "params"])
        for number in (0, 1234, 85178):
            architecture = estimator.space.decode([number // 10**k % 10 for k in (4, 3, 2, 1, 0)])
            evaluation = estimator.evaluate(architecture)
            assert evaluation.score == pytest.approx(100 * np.mean([b[number][1] for b in used]))
            assert estimator.test(architecture) == {"test": pytest.approx(100 * np.mean([b[number][2] for b in used]))}
            assert evaluation.metrics == {"latency": pytest.approx(1.5 if len(used) == 2 else 1.0), "params": 500_000}


def test_bad_bench_files_are_refused(tmp_path: Path, cache: Path) -> None:
    marker = tmp_path / "executed"
    good = {"valid_perf": 0.5, "perf": 0.6, "latency": 0.1, "para": 0.2}
    path = tmp_path / "cora.bench"
    cases: list[tuple[object, str]] = [
        ({0: Hostile(f"touch {marker}")}, "refused the pickle"),
        ([1, 2], "not a dictionary"),
        ({"a": good}, "not a dictionary"),
        ({}, "holds 0 architectures"),
        ({90_000: good}, "no architecture of NAS-Bench-Graph"),
        ({-1: good}, "no architecture of NAS-Bench-Graph"),
        ({9: good}, "no architecture of NAS-Bench-Graph"),
        ({18_888: good}, "no architecture of NAS-Bench-Graph"),
        ({0: {**good, "perf": 1.5}}, "outside of 0 to 1"),
        ({0: {**good, "perf": float("nan")}}, "outside of 0 to 1"),
        ({0: {"perf": 0.5}}, "not in the form"),
        ({0: {**good, "perf": "high"}}, "not in the form"),
        ({0: [1, 2]}, "not in the form"),
        ({0: {"dur": []}}, "not in the form"),
    ]
    for content, message in cases:
        path.write_bytes(pickle.dumps(content))
        refused("nasbench_graph", path, message, cache)
        assert not marker.exists()
    path.write_bytes(pickle.dumps({0: good}))
    refused("nasbench_graph", path, "holds 1 architectures; cora has 26206", cache, partial=False)
    path.write_bytes(pickle.dumps({0: good})[:-9])
    refused("nasbench_graph", path, "not a readable pickle", cache)
    refused("nasbench_graph", path.rename(tmp_path / "corra.bench"), "'corra.bench'; nearest: .*cora.bench", cache)
    empty = tmp_path / "empty"
    empty.mkdir()
    refused("nasbench_graph", empty, "no file like cora.bench", cache)
    # one bad file of a folder: none is written
    (empty / "cora.bench").write_bytes(pickle.dumps({0: good}))
    (empty / "pubmed.bench").write_bytes(b"broken")
    refused("nasbench_graph", empty, "not a readable pickle", cache)


def test_unknown_benchmarks_and_missing_files(tmp_path: Path, cache: Path) -> None:
    refused("nasbench21", tmp_path, "unknown benchmark 'nasbench21'; nearest: nasbench201", cache)
    for benchmark in ("nasbench101", "nasbench201", "nasbench_graph"):
        refused(benchmark, tmp_path / "absent", "absent does not exist", cache)
    with pytest.raises(GraphnasError, match="does not exist"):
        convert(tmp_path / "cora.bench")
