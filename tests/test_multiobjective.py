"""Searches for several objectives and under constraints, from Python, in a store, on the command line and in the report."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphnas as gn
from graphnas.cli import main
from graphnas.cost import LatencyTable
from graphnas.errors import GraphnasError
from graphnas.objectives import Objective
from graphnas.pareto import dominates, non_dominated
from graphnas.report import write_report
from graphnas.results import as_run, read
from graphnas.search import Search
from graphnas.settings import Settings
from graphnas.store import Store

AIMS = ["validation", "-latency"]
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command in this process: (exit code, stdout, stderr)."""

    def run(*words: str | Path | int) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["graphnas", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


def cora(*metrics: str) -> gn.TableEstimator:
    return gn.TableEstimator(gn.get_table("nasbench_graph/cora").table, metrics=metrics or ("latency", "params"))


def test_the_front_of_a_search_is_that_of_its_trials() -> None:
    estimator = cora()
    result = Search(estimator.space, estimator, "nsga2", budget=150, objectives=AIMS).run()
    points = np.array([[t.score, -t.metrics["latency"]] for t in result.trials])
    front = result.front()
    assert {t.number for t in front} <= set(np.flatnonzero(non_dominated(points)).tolist())
    assert not any(dominates(points[i], points[t.number]) for i in range(150) for t in front)
    assert result.objectives == (Objective("score"), Objective("latency", maximise=False))
    three = result.front("score,-latency,-params")
    assert {t.number for t in front} <= {t.number for t in three}
    with pytest.raises(GraphnasError, match="at least one objective"):
        Search(estimator.space, estimator, "random", budget=3).run().front()


@pytest.mark.parametrize("strategy", ["random", "evolution", "ppo"])
def test_strategies_of_one_objective_see_what_breaks_a_constraint_as_failed(strategy: str) -> None:
    estimator = cora()
    median = float(np.median(estimator.table.columns["latency"]))
    told = []

    class Watched(gn.Strategy):
        def __init__(self, space, rng, **options):  # type: ignore[no-untyped-def]
            super().__init__(space, rng)
            self.inner = gn.registry.find("strategy", strategy)(space, rng)

        def ask(self, n):  # type: ignore[no-untyped-def]
            return self.inner.ask(n)

        def tell(self, trials):  # type: ignore[no-untyped-def]
            told.extend(trials)
            self.inner.tell(trials)

    limit = f"latency<={median!r}"
    result = Search(estimator.space, estimator, Watched, budget=80, constraints=[limit]).run()
    broken = {t.number for t in result.trials if t.metrics["latency"] > median}
    assert 0 < len(broken) < 80
    assert all(t.status == "complete" for t in result.trials)  # what is kept is what was measured
    assert {t.number for t in told if t.status == "failed"} == broken
    assert all(math.isnan(t.score) for t in told if t.number in broken)
    assert result.best is not None
    assert result.best.score == max(t.score for t in result.trials if t.number not in broken)


def test_a_strategy_of_several_objectives_sees_all_that_was_measured() -> None:
    estimator = cora()
    search = Search(
        estimator.space, estimator, "nsga2", budget=10, objectives=AIMS, constraints="latency<=0.001,params<=1"
    )
    strategy = search._make_strategy()
    assert list(map(str, strategy.objectives)) == ["score", "-latency"]  # type: ignore[attr-defined]
    assert list(map(str, strategy.constraints)) == ["latency<=0.001", "params<=1"]  # type: ignore[attr-defined]
    result = search.run()
    assert result.best is None  # nothing keeps the limits
    assert result.front() == []


def test_a_store_keeps_objectives_and_refuses_others(tmp_path: Path) -> None:
    estimator, path = cora(), tmp_path / "front.db"
    Search(estimator.space, estimator, "nsga2", budget=30, objectives=AIMS, store=path).run()
    whole = Search(estimator.space, estimator, "nsga2", budget=60, objectives=AIMS).run()
    resumed = Search(estimator.space, estimator, "nsga2", budget=60, objectives=AIMS, store=path).run()
    assert [t.key for t in resumed.trials] == [t.key for t in whole.trials]
    assert [t.number for t in resumed.front()] == [t.number for t in whole.front()]
    for other in ({"objectives": "validation"}, {}, {"objectives": AIMS, "constraints": "latency<=1"}):
        with pytest.raises(GraphnasError, match="holds another search"):
            Search(estimator.space, estimator, "nsga2", budget=60, store=path, **other).run()  # type: ignore[arg-type]


def test_an_objective_that_is_not_measured_is_told_at_once(tmp_path: Path) -> None:
    estimator = cora("params")
    with pytest.raises(GraphnasError, match=r"does not report 'latency' \(its metrics: params\)"):
        Search(estimator.space, estimator, "random", budget=5, objectives=AIMS).run()


def test_the_command_line_finds_a_front_and_a_store_shows_it(cli: Cli, tmp_path: Path) -> None:
    store = tmp_path / "front.db"
    words = [
        "search",
        "nasbench_graph",
        "--on",
        "nasbench_graph/cora",
        "--strategy",
        "nsga2",
        "--budget",
        80,
        "--store",
        store,
    ]
    code, out, err = cli(*words, "--objectives", "validation,-latency", "--constraint", "params<=1000000", "--json")
    assert code == 0, err
    record = json.loads(out)
    estimator = cora()
    result = Search(
        estimator.space, cora("params", "latency"), "nsga2", budget=80, objectives=AIMS, constraints="params<=1000000"
    ).run()
    assert [row["trial"] for row in record["front"]] == [t.number for t in result.front()]
    assert record["front"][0]["validation"] == result.front()[0].score
    assert record["front"][0]["latency"] == result.front()[0].metrics["latency"]
    assert set(record["best"]["metrics"]) == {"params", "latency"}
    assert record["best"]["metrics"]["params"] <= 1000000
    code, out, err = cli("show", store, "--json")
    assert [row["trial"] for row in json.loads(out)["front"]] == [row["trial"] for row in record["front"]]
    assert f"front: {len(record['front'])} trials" in cli("show", store)[1]
    code, out, err = cli("resume", store, "--budget", 90)
    assert code == 0, err
    assert re.search(r"front: \d+ of 90 trials", out)
    with Store(store, read_only=True) as kept:
        settings = Settings.from_record(kept.get("command"))
    repeated = settings.shell("x.db")
    assert "--objectives validation,-latency" in repeated
    assert "--constraint 'params<=1000000'" in repeated


def test_the_command_line_searches_for_the_latency_reward(cli: Cli) -> None:
    words = ["search", "nasbench_graph", "--on", "nasbench_graph/cora", "--strategy", "ppo", "--budget", 40, "--json"]
    code, out, err = cli(*words, "--target", "latency=2", "--reward", "hard")
    assert code == 0, err
    best = json.loads(out)["best"]
    metrics = best["metrics"]
    assert best["reward"] == pytest.approx(metrics["validation"] * min(1.0, 2 / metrics["latency"]))
    for more, message in (
        (["--reward", "hard"], "needs a target"),
        (["--target", "latency=0"], "must be greater than 0"),
        (["--target", "latency=a"], "must be a number"),
        (["--target", "latency=1", "--target", "params=2"], "one target"),
        (["--target", "energy=1"], "energy"),
        (["--constraint", "latency<1"], "as in 'latency<=5'"),
        (["--objectives", "-validation"], "better when larger"),
        (["--latency-table", "x.json"], "is a table and trains nothing"),
    ):
        code, _, err = cli(*words, *more)
        assert code == 2, more
        assert message in err
        assert len(err.strip().splitlines()) == 1


def test_networks_that_are_trained_have_the_latency_of_a_table(tmp_path: Path) -> None:
    space, task = gn.get_space("nasbench201"), gn.get_task("digits")
    size = {"channels": 2, "cells": 1}
    table, path = LatencyTable(), tmp_path / "latency.json"
    for a in (space.decode([d] * 6) for d in range(5)):
        network = space.network(a, task.signature, **size)
        table.entries |= dict.fromkeys(table._names(network).values(), 0.125)
    table.save(path)
    settings = Settings(
        "nasbench201", "digits", "random", trials=1, epochs=1, data=0.05, size=size,
        objectives="-latency,-macs", latency_table=str(path),
    )  # fmt: skip
    (trial,) = settings.search().run().trials
    network = space.network(trial.architecture, task.signature, **size)
    assert trial.metrics["latency"] == pytest.approx(0.125 * len(table._names(network)))
    assert trial.metrics["macs"] == gn.cost.cost(network).macs


def test_the_report_draws_the_front_and_lists_it(tmp_path: Path) -> None:
    estimator, path = cora(), tmp_path / "front.db"
    result = Search(
        estimator.space, estimator, "nsga2", budget=80, store=path,
        objectives=[*AIMS, "-params"], constraints="params<=1000000",
    ).run()  # fmt: skip
    run = as_run(read(path), estimator, {})
    page = write_report([run], tmp_path / "report.html").read_text()
    assert "<h3>Pareto front</h3>" in page
    assert "params&lt;=1000000" in page
    assert page.count('id="front-') or "front-0-0" in page
    assert "front-0-1" in page  # one figure for each further objective
    table = page[page.index("<h3>Pareto front</h3>") :]
    rows = re.findall(r"<tr>(.*?)</tr>", table[: table.index("</table>")])[1:]
    front = result.front()
    assert len(rows) == min(len(front), 30)
    for row, trial in zip(rows, front, strict=False):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
        assert cells[:3] == [f"{v:.6g}" for v in (trial.score, trial.metrics["latency"], trial.metrics["params"])]
        assert cells[4] == str(trial.number)
    assert run.best()[0].score == result.best.score  # type: ignore[union-attr]
    assert write_report([run], tmp_path / "again.html").read_text() == page


def test_a_report_without_objectives_has_no_front(tmp_path: Path) -> None:
    estimator, path = cora(), tmp_path / "plain.db"
    Search(estimator.space, estimator, "random", budget=20, store=path).run()
    page = write_report([as_run(read(path), estimator, {})], tmp_path / "report.html").read_text()
    assert "<h3>Pareto front</h3>" not in page
    assert "Score against cost" in page
