"""Every registered space with every registered strategy and every estimator that fits: one loop serves them all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.search import Result, Search
from graphnas.store import Store
from graphnas.strategies.base import Trial
from graphnas.strategies.learned import LearnedStrategy
from graphnas.testing import SMALL_OPTIONS, AdditiveEstimator, check_estimator

BUDGET = 20


class Counting(Estimator):
    """Another estimator, and how often each key was evaluated."""

    def __init__(self, inner: Estimator) -> None:
        self.inner = inner
        self.name, self.space, self.batch, self.metric = inner.name, inner.space, inner.batch, inner.metric
        self.calls: Counter[str] = Counter()

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        self.calls[self.space.key(architecture)] += 1
        return self.inner.evaluate(architecture, seed=seed)

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHNAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(estimator: Estimator, strategy: str, **options: Any) -> Result:
    given = {"budget": BUDGET, "seed": 3, "batch": 3, **options}
    return Search(estimator.space, estimator, strategy, options=SMALL_OPTIONS.get(strategy), **given).run()


def told(trial: Trial) -> tuple[Any, ...]:
    """All of a trial but its wall time; NaN as a text, so that it equals itself."""
    score = trial.score if math.isfinite(trial.score) else str(trial.score)
    return (
        trial.number,
        trial.architecture,
        trial.key,
        trial.status,
        score,
        trial.metrics,
        trial.seed,
        trial.cost,
        trial.error,
    )


def check_result(result: Result, estimator: Counting) -> None:
    trials = result.trials
    if result.stopped == f"budget of {BUDGET} trials used":
        assert len(trials) == BUDGET
    else:  # only a strategy that ran out of proposals may stop earlier
        assert result.duplicates > 0
        assert len(trials) < BUDGET
    assert [t.number for t in trials] == list(range(len(trials)))
    assert estimator.calls == Counter(t.key for t in trials)
    assert set(estimator.calls.values()) <= {1}
    assert len({t.seed for t in trials}) == len(trials)
    scores = [t.score for t in trials]
    assert all((t.status == "complete") == math.isfinite(t.score) for t in trials)
    assert all((t.status == "failed") == bool(t.error) for t in trials)
    assert result.failed == sum(t.status == "failed" for t in trials)
    for t in trials:
        assert estimator.space.key(t.architecture) == t.key
        if t.status == "complete":
            assert estimator.inner.evaluate(t.architecture, seed=t.seed).score == t.score
    if all(map(math.isnan, scores)):
        assert result.best is None
    else:
        assert result.best is trials[int(np.nanargmax(scores))]
        with np.errstate(all="ignore"):
            assert np.array_equal(result.curve(), np.fmax.accumulate(scores), equal_nan=True)


def check_all(make: Any, strategy: str, folder: Path, memory: bool = True) -> Result:
    """A search in a store, one that is interrupted in the middle of a batch, and perhaps one in memory: the same trials."""
    estimator = Counting(make())
    stored = run(estimator, strategy, store=folder / "whole.db")
    check_result(stored, estimator)
    with Store(folder / "whole.db", read_only=True) as store:
        written = list(store.trials(estimator.space))
    interrupted = run(Counting(make()), strategy, store=folder / "parts.db", budget=8)
    assert len(interrupted.trials) == 8
    again = Counting(make())
    resumed = run(again, strategy, store=folder / "parts.db")
    expected = list(map(told, stored.trials))
    assert not again.calls.keys() & {t.key for t in interrupted.trials}, "a stored trial was evaluated again"
    for other in (written, resumed.trials, *([run(Counting(make()), strategy).trials] if memory else [])):
        assert list(map(told, other)) == expected
    assert resumed.duplicates == stored.duplicates
    return stored


def pairs() -> Iterator[tuple[str, str, int]]:
    """Every space with every strategy; trials fail in every second pair, so that each space and strategy meets failures."""
    for i, space in enumerate(registry.names("space")):
        for j, strategy in enumerate(registry.names("strategy")):
            yield space, strategy, 3 * ((i + j) % 2)


@pytest.mark.parametrize(("space", "strategy", "failing"), list(pairs()))
def test_synthetic_objective(space: str, strategy: str, failing: int, tmp_path: Path) -> None:
    found = check_all(
        lambda: AdditiveEstimator(registry.get_space(space), 1, failing), strategy, tmp_path, memory=not failing
    )
    assert bool(found.failed) == bool(failing)
    if issubclass(registry.find("strategy", strategy), LearnedStrategy):
        assert found.duplicates == 0


def open_table(name: str) -> Estimator:
    try:
        return registry.find("table", name)()  # type: ignore[no-any-return]
    except GraphnasError as error:
        pytest.skip(str(error))


PART = 5
"""Every table meets each so-many-th strategy: the spaces met them all above, and what is new here is the table."""


@pytest.fixture(scope="module", params=registry.names("table"))
def table(request: pytest.FixtureRequest) -> Estimator:
    return open_table(request.param)


def test_tables_keep_the_rules_of_estimators(table: Any) -> None:
    space, rows = table.space, table.table.decisions
    members = [space.decode(rows[i]) for i in (0, len(rows) // 2, len(rows) - 1)]
    check_estimator(table, architectures=members)


def test_tables(table: Estimator, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    number = registry.names("table").index(request.node.callspec.params["table"])
    for strategy in registry.names("strategy")[number % PART :: PART]:
        folder = tmp_path / strategy
        folder.mkdir()
        check_all(lambda: table, strategy, folder)


def test_a_search_refuses_an_estimator_of_another_space() -> None:
    spaces = [registry.get_space(name) for name in ("nasbench201", "nasbench_graph")]
    with pytest.raises(GraphnasError, match="scores architectures of space 'nasbench_graph', not of 'nasbench201'"):
        Search(spaces[0], AdditiveEstimator(spaces[1]), "random")


def test_duplicates_are_evaluated_when_asked_to() -> None:
    estimator = Counting(AdditiveEstimator(registry.get_space("nasbench201"), batch=50))
    result = run(estimator, "policy_gradient", deduplicate=False, budget=2000, batch=50)
    assert len(result.trials) == 2000
    assert sum(estimator.calls.values()) == 2000
    assert max(estimator.calls.values()) > 1
