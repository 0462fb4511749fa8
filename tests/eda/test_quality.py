"""What the benchmark of routability models computes from its rows, and how it keeps them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from eda.dataset import Dataset, Sample, SampleLabel
from eda.development import task_of
from eda.models.manual import MODELS
from eda.route import Recipe


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "eda_quality.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_routability", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_row_is_measured_once(bench: ModuleType) -> None:
    cells = list(bench.cells(bench.FULL, bench.TASKS))
    assert len(set(cells)) == len(cells)
    for task in bench.TASKS:
        for seed in range(bench.FULL.seeds):
            mine = {(c.part, c.method) for c in cells if c.task == task and c.seed == seed}
            assert {("manual", name) for name in MODELS[task]} <= mine
            assert {("found", name) for name in ("guide_dag", "guided", "random")} <= mine
            assert ("plain", "gradient boosting") in mine
    assert len({c.name for c in cells}) == len(cells)


def test_rows_survive_a_kill_and_are_measured_again_after_a_change(bench: ModuleType, tmp_path: Path) -> None:
    path, now = tmp_path / "rows.jsonl", bench.settings(bench.FULL, "plain")
    row = {"task": "nets", "part": "plain", "method": "zero", "seed": 0, "settings": now, "test": {"tau": 0.0}}
    lines = [row, {**row, "seed": 1, "settings": {**now, "epochs": 99}}, {**row, "seed": 2}]
    path.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"task": "ne')
    assert [cell.seed for cell in bench.known_rows(path, bench.FULL)] == [0, 2]
    assert not bench.known_rows(path, bench.QUICK)


def test_searches_with_nets_are_rows_of_their_own(bench: ModuleType) -> None:
    """Rows of plain and manual models that were measured before searches had nets stay; those of searches do not."""
    earlier = {
        "architectures": 30, "epochs": 4, "channels": 8, "folds": 3, "finalists": 4, "again": 2, "full_epochs": 30,
        "full_repeats": 1, "full_channels": 24, "batch": 5, "placements": 99,
    }  # fmt: skip
    assert bench.settings(bench.FULL, "plain") == bench.settings(bench.FULL, "manual") == earlier
    assert bench.settings(bench.FULL, "found") == {**earlier, "architectures": 60, "graph": True}


def test_margins_are_drawn_with_the_same_designs(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "DRAWS", 30)
    rng = np.random.default_rng(0)
    samples = []
    for part, designs in (("train", "ab"), ("validation", "c"), ("test", "defghi")):
        for design in designs:
            for k in range(6):
                label = SampleLabel(
                    10, int(rng.integers(20)), 20, np.zeros((2, 3), np.int32), np.zeros((0, 3), np.int16), 0
                )
                maps = rng.random((1, 2, 3)).astype(np.float32)
                samples.append(Sample(f"{design}{k}", design, design, part, maps, {10: label}, Recipe()))
    task = task_of("nets", Dataset(("rudy",), tuple(samples)))
    truth = np.array([s.labels[10].rate for s in task.samples("test")])
    seeds = [[np.array([v]) for v in truth + rng.normal(0, noise, len(truth))] for noise in (0.2, 0.2, 0.4)]
    methods = {"found: x": seeds[:2], "manual: y": seeds[2:], "manual: z": seeds[:2]}
    found = bench.measured(methods, task, "manual: y", ["found: x"])
    taus = [task.measure(each, task.samples("test"))["tau"] for each in seeds]
    assert found["found: x"].value == pytest.approx(np.mean(taus[:2]))
    margin = found["found: x>manual: y"]
    assert margin.value == pytest.approx(100 * (np.mean(taus[:2]) / taus[2] - 1))
    assert margin.low < margin.value < margin.high
    same = bench.measured(methods, task, "manual: z", ["found: x"])["found: x>manual: z"]
    assert same == (0.0, 0.0, 0.0)  # the same predictions have no margin in any draw
