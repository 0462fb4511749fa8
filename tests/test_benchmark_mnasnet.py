"""The benchmark of several objectives: what it measures, and that its main result holds on a few seeds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from graphnas.data import find
from graphnas.hypervolume import hypervolume
from graphnas.pareto import non_dominated

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "mnasnet.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    if find("accel_nasbench.csv.gz") is None:
        pytest.skip("accel_nasbench.csv.gz is missing: set GRAPHNAS_DATA to a folder that holds it")
    spec = importlib.util.spec_from_file_location("benchmark_of_several_objectives", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_reference_points_are_worse_than_what_counts(bench: ModuleType) -> None:
    for device in bench.DEVICES:
        points = bench.points_of(device)
        found = bench.references(points)
        front = points[non_dominated(points)]
        assert (found["front"] < front.min(axis=0)).all()
        assert found["front"] == pytest.approx(front.min(axis=0) - 0.1 * np.ptp(front, axis=0))
        assert (found["table"] <= points).all()
        whole = hypervolume(points, found["front"])
        assert whole == pytest.approx(hypervolume(front, found["front"]))


def test_the_main_result_holds_on_three_seeds(bench: ModuleType) -> None:
    """PPO with the soft reward finds 95 % of the hypervolume in 500 queries, and more than random search."""
    shares = {
        label: [bench.search("tpuv3", label, seed)["front"]["500"] for seed in range(3)]
        for label in ("random", "PPO, soft reward (MnasNet)")
    }
    random = shares.pop("random")
    assert all(np.median(found) >= 0.95 for found in shares.values())
    assert all(np.median(found) > np.median(random) for found in shares.values())


def test_rows_are_kept_and_only_missing_ones_are_measured(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "DEVICES", ("zcu102",))
    monkeypatch.setattr(bench, "PLANS", {"random": bench.PLANS["random"]})
    monkeypatch.setattr(bench, "QUICK_SEEDS", 1)
    path = tmp_path / "rows.jsonl"
    bench.run(path, True, ("search",))
    (row,) = map(json.loads, path.read_text().splitlines())
    assert 0.5 < row["front"]["100"] <= row["front"]["500"] < 1
    monkeypatch.setattr(bench, "QUICK_SEEDS", 2)
    bench.run(path, True, ("search",))
    assert [r["seed"] for r in map(json.loads, path.read_text().splitlines())] == [0, 1]
    bench.show(path)
    assert "zcu102: share of the table's hypervolume" in capsys.readouterr().out


def test_the_interval_is_of_the_median(bench: ModuleType) -> None:
    values = np.random.default_rng(0).normal(size=400)
    median, low, high = bench.interval(values)
    assert median == np.median(values)
    assert low < median < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(np.pi / 2 / 400), rel=0.3)  # of a normal sample
