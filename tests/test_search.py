"""The search loop: order, budgets, duplicates, failures, resuming, workers."""

from __future__ import annotations

import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.registry import get_space
from graphnas.search import Budget, Result, Search, trial_seed
from graphnas.space import Space
from graphnas.strategies.base import Strategy, Trial
from graphnas.strategies.random_search import RandomSearch

SPACE: Space = get_space("nasbench201")
STRATEGIES = ("random", "evolution", "local_search", "policy_gradient")


class Weighted(Estimator):
    """A known objective: the dot product of the decisions with fixed weights, plus a little of the seed."""

    name = "weighted"
    space = SPACE

    def __init__(self, batch: int = 1, behaviour: str = "") -> None:
        self.batch = batch
        self.behaviour = behaviour

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        decisions = self.space.encode(architecture)
        if self.behaviour and decisions[0] == 0:
            if self.behaviour == "raise":
                raise RuntimeError("the first edge is none")
            if self.behaviour == "nan":
                return Evaluation(math.nan)
            if self.behaviour == "hang":
                time.sleep(600)
            if self.behaviour == "die":
                os.kill(os.getpid(), signal.SIGKILL)
        score = sum(w * d for w, d in zip((3, 1, 4, 1, 5, 9), decisions, strict=True)) + seed % 7 / 100
        return Evaluation(float(score), {"sum": float(sum(decisions))}, cost=2.0)


def trials_of(result: Result) -> list[tuple[object, ...]]:
    return [
        (
            t.number,
            SPACE.encode(t.architecture),
            t.key,
            t.status,
            None if t.score != t.score else t.score,
            t.metrics,
            t.seed,
        )
        for t in result.trials
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_trials_are_distinct_and_the_best_is_the_best(strategy: str) -> None:
    result = Search(SPACE, Weighted(), strategy, budget=150, seed=3).run()
    keys = [t.key for t in result.trials]
    assert len(keys) == len(set(keys)) == 150
    assert [t.number for t in result.trials] == list(range(150))
    assert result.best is not None
    assert result.best.score == max(t.score for t in result.trials)
    assert result.curve() == np.maximum.accumulate([t.score for t in result.trials]).tolist()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_same_seed_same_trials_other_seed_others(strategy: str) -> None:
    first, again, other = (
        trials_of(Search(SPACE, Weighted(), strategy, budget=60, seed=seed).run()) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_resuming_with_more_budget_equals_one_run(strategy: str, tmp_path: Path) -> None:
    store = tmp_path / "run.db"
    estimator = Weighted(batch=8)
    whole = trials_of(Search(SPACE, estimator, strategy, budget=101, seed=1).run())
    for budget in (13, 13, 50, 101):
        part = trials_of(Search(SPACE, estimator, strategy, budget=budget, seed=1, store=store).run())
        assert part == whole[:budget]


def test_a_duplicate_is_told_but_not_evaluated() -> None:
    calls: list[tuple[int, ...]] = []
    told: list[Trial] = []

    class Counting(Weighted):
        def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
            calls.append(self.space.encode(architecture))
            return super().evaluate(architecture, seed=seed)

    class Repeating(RandomSearch):
        """Asks for everything twice: at once, and again in the next round."""

        def ask(self, n: int) -> list[Architecture]:
            new = super().ask(n)
            old = getattr(self, "last", [])
            self.last = new
            return [*new, *new, *old]

        def tell(self, trials: object) -> None:
            told.extend(trials)  # type: ignore[arg-type]

    result = Search(SPACE, Counting(batch=5), Repeating, budget=20, seed=0).run()
    assert len(calls) == 20 == len({SPACE.key(SPACE.decode(c)) for c in calls})
    assert result.duplicates > 20
    scores = {t.key: t.score for t in result.trials}
    for trial in told:
        assert trial.score == scores[trial.key]
    assert {t.status for t in told} == {"complete", "duplicate"}


def test_budgets_end_the_search_for_their_own_reason() -> None:
    by_cost = Search(SPACE, Weighted(), "random", budget=Budget(cost=50)).run()
    assert len(by_cost.trials) == 25  # each costs 2
    assert "cost" in by_cost.stopped
    by_time = Search(SPACE, Weighted(), "random", budget=Budget(seconds=0.2)).run()
    assert "seconds" in by_time.stopped
    assert by_time.seconds >= 0.2
    tiny = Search("nasbench201", Weighted(), "local_search", budget=Budget(trials=3, cost=1e9)).run()
    assert len(tiny.trials) == 3
    with pytest.raises(GraphnasError, match="at least one"):
        Budget()


def test_a_strategy_without_proposals_ends_the_search() -> None:
    class Finite(RandomSearch):
        def ask(self, n: int) -> list[Architecture]:
            self.left = getattr(self, "left", 3) - 1
            return super().ask(n) if self.left >= 0 else []

    result = Search(SPACE, Weighted(), Finite, budget=100).run()
    assert len(result.trials) + result.duplicates == 3
    assert "nothing more" in result.stopped


def test_a_strategy_that_repeats_itself_ends_the_search() -> None:
    class Stuck(Strategy):
        def ask(self, n: int) -> list[Architecture]:
            return [self.space.decode([1] * 6)] * n

        def tell(self, trials: object) -> None:
            pass

    result = Search(SPACE, Weighted(), Stuck, budget=10).run()
    assert len(result.trials) == 1
    assert "known architectures in a row" in result.stopped


@pytest.mark.parametrize("behaviour", ["raise", "nan"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_failed_trials_are_recorded_and_the_search_goes_on(strategy: str, behaviour: str, tmp_path: Path) -> None:
    estimator = Weighted(behaviour=behaviour)
    store = tmp_path / "run.db"
    result = Search(SPACE, estimator, strategy, budget=80, seed=2, store=store).run()
    assert len(result.trials) == 80
    for trial in result.trials:
        failed = SPACE.encode(trial.architecture)[0] == 0
        assert trial.status == ("failed" if failed else "complete")
        assert (trial.score != trial.score) == failed
        if failed:
            assert ("the first edge is none" if behaviour == "raise" else "nan") in trial.error
    assert 0 < result.failed < 80
    again = Search(SPACE, estimator, strategy, budget=80, seed=2, store=store).run()
    assert trials_of(again) == trials_of(result)


def test_workers_change_nothing_but_the_time(tmp_path: Path) -> None:
    one = Search(SPACE, Weighted(batch=8), "evolution", options={"population": 10}, budget=60, seed=4)
    two = Search(SPACE, Weighted(batch=8), "evolution", options={"population": 10}, budget=60, seed=4, workers=2)
    assert trials_of(one.run()) == trials_of(two.run())


def test_any_executor_serves() -> None:
    alone = Search(SPACE, Weighted(batch=8), "evolution", budget=40, seed=4).run()
    with ThreadPoolExecutor(3) as pool:
        pooled = Search(SPACE, Weighted(batch=8), "evolution", budget=40, seed=4, executor=pool).run()
    assert trials_of(alone) == trials_of(pooled)


@pytest.mark.parametrize(
    ("behaviour", "message"), [("hang", "time limit of 1.5 seconds"), ("die", "worker process died")]
)
def test_a_trial_that_hangs_or_kills_its_worker_costs_only_itself(behaviour: str, message: str) -> None:
    estimator = Weighted(batch=4, behaviour=behaviour)
    result = Search(SPACE, estimator, "random", budget=12, seed=7, workers=2, time_limit=1.5).run()
    assert len(result.trials) == 12
    failed = [t for t in result.trials if SPACE.encode(t.architecture)[0] == 0]
    assert failed, "the seed must draw at least one trial that misbehaves"
    assert all(t.status == "failed" and message in t.error for t in failed)
    assert sum(t.status == "complete" for t in result.trials) == 12 - len(failed)


def test_what_cannot_go_together_is_refused_at_construction() -> None:
    with pytest.raises(GraphnasError, match="not of 'nasbench_graph'"):
        Search("nasbench_graph", Weighted())
    with pytest.raises(GraphnasError, match="nearest: evolution"):
        Search(SPACE, Weighted(), "evolutoin")
    with pytest.raises(GraphnasError, match="populatoin"):
        Search(SPACE, Weighted(), "evolution", options={"populatoin": 3})
    with pytest.raises(GraphnasError, match="batch and workers"):
        Search(SPACE, Weighted(), workers=0)


def test_a_store_of_another_search_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = tmp_path / "run.db"
    Search(SPACE, Weighted(), "random", budget=5, seed=1, store=store).run()
    before = store.read_bytes()
    for other in (
        Search(SPACE, Weighted(), "random", budget=5, seed=2, store=store),
        Search(SPACE, Weighted(), "evolution", budget=5, seed=1, store=store),
        Search(SPACE, Weighted(batch=2), "random", budget=5, seed=1, store=store),
    ):
        with pytest.raises(GraphnasError, match="holds another search"):
            other.run()
    assert store.read_bytes() == before


def test_a_search_whose_strategy_changed_is_noticed(tmp_path: Path) -> None:
    class Sampler(RandomSearch):
        skip = 0

        def ask(self, n: int) -> list[Architecture]:
            return super().ask(n + self.skip)[self.skip :]

    store = tmp_path / "run.db"
    Search(SPACE, Weighted(), Sampler, budget=5, store=store).run()
    Sampler.skip = 1
    with pytest.raises(GraphnasError, match="has changed since"):
        Search(SPACE, Weighted(), Sampler, budget=5, store=store).run()


def test_trial_seeds_are_spread() -> None:
    seeds = [trial_seed(s, n) for s in range(50) for n in range(200)]
    assert len(set(seeds)) > 9_990  # 10,000 draws from 2^31: about 0.02 collisions expected
    assert 0 <= min(seeds) < max(seeds) < 2**31
    bits = np.array([[(s >> b) & 1 for b in range(31)] for s in seeds]).mean(axis=0)
    assert np.all(np.abs(bits - 0.5) < 0.025)  # five standard deviations
