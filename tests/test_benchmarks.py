"""What the benchmark of predictors computes from its measurements, and how it keeps them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import ttest_rel

from graphnas.data import find
from graphnas.metrics import kendall_tau

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
TABLE = "nasbench101/cifar10"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_of_predictors", FOLDER / "predictors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def table(bench: ModuleType) -> ModuleType:
    if find("nb101_500.npz") is None:
        pytest.skip("nb101_500.npz is missing: set GRAPHNAS_DATA to a folder that holds it")
    return bench


def row(model: str, draw: int, **changes: object) -> dict[str, object]:
    made = {"table": TABLE, "model": model, "labels": 20, "draw": draw, "protocol": "rest", "tau": 0.5, "settings": {}}
    return {**made, **changes}


def test_the_interval_is_that_of_the_paired_t_test(bench: ModuleType) -> None:
    rng = np.random.default_rng(0)
    best, other = rng.normal(80, 2, size=10), rng.normal(79, 2, size=10)
    found = bench.behind(dict(enumerate(best)), {**dict(enumerate(other)), 17: 0.0})  # a draw that only one model has
    expected = ttest_rel(best, other).confidence_interval(0.95)
    assert found.mean == pytest.approx((best - other).mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert np.isnan(bench.behind({0: 1.0}, {0: 0.5}).low)


def test_shards_share_the_work_without_overlap(bench: ModuleType) -> None:
    for of in (1, 2, 3):
        for table in range(14):
            for draw in range(10):
                owners = [part for part in range(1, of + 1) if bench.in_shard(table, draw, 14, (part, of))]
                assert len(owners) == 1
    halves = [sum(bench.in_shard(t, d, 14, (part, 2)) for t in range(14) for d in range(10)) for part in (1, 2)]
    assert halves == [70, 70]


def test_rows_survive_a_kill_and_are_measured_again_after_a_change(bench: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    settings = bench.settings(bench.models()["kernel"](bench.registry.get_space("nasbench101"), 0))
    bench.append(path, row("kernel", 0, settings=settings))
    with path.open("ab") as file:
        file.write(b'{"table": "nasbench101/cif')  # what a kill leaves
    bench.append(path, row("kernel", 1, settings=settings))
    bench.append(path, row("kernel", 2, settings={**settings, "reference": -1}))
    bench.append(path, row("kernel", 3, settings=settings, labels=78))
    cells = [(TABLE, "kernel", 20, draw) for draw in range(4)]
    assert list(bench.known_rows(path, cells)) == cells[:2]
    assert len(path.read_bytes().splitlines()) == 5


def test_a_measurement_follows_its_protocol(table: ModuleType) -> None:
    found = table.measure((TABLE, "forest-canonical", 20, 3))
    data = table.data_of(TABLE)
    order = np.random.default_rng([3, 20]).permutation(len(data.architectures))
    forest = table.models()["forest-canonical"](data.space, 3)
    forest.fit([data.architectures[i] for i in order[:20]], data.validation[order[:20]])
    mean = forest.predict([data.architectures[i] for i in order[20:]]).mean
    assert found["protocol"] == "rest"
    assert found["tau"] == kendall_tau(mean, data.validation[order[20:]])
    assert found["settings"] == json.loads(json.dumps(table.settings(forest)))


def test_the_last_table_says_whether_the_default_is_within_the_interval(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    near, far = rng.normal(0, 0.02, size=10), rng.normal(0.05, 0.02, size=10)

    def rows(lead: np.ndarray) -> list[dict[str, object]]:
        times = {"fit": 1.0, "rank": 2.0}
        gcn = [row(bench.DEFAULT, i, tau=0.8, **times) for i in range(10)]
        return [*gcn, *[row("kernel", i, tau=0.8 + lead[i], **times) for i in range(10)]]

    for lead, verdict in (
        (near - near.mean() + 1e-4, "yes in 1 of 1"),
        (far, "yes in 0 of 1"),
        (-far, "yes in 1 of 1"),
    ):
        bench.show(rows(lead), [TABLE], [20])
        assert verdict in capsys.readouterr().out


def test_the_script_does_not_hide_the_package_of_its_name() -> None:
    code = "import predictors.trees as trees; print(trees.__file__)"
    # Any other script of the folder has it first on its path.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=FOLDER, text=True, check=True)
    assert Path(done.stdout.strip()) == FOLDER.parent / "predictors" / "trees.py"
