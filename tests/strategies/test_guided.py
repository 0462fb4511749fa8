"""Predictor-guided search: what it fits, when, what it predicts and what it picks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from graphnas import registry
from graphnas.architecture import Architecture, node
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Evaluation
from graphnas.predictor import Prediction, Predictor
from graphnas.search import Search
from graphnas.space import Choice, Space
from graphnas.strategies.acquisition import ACQUISITIONS, half_top
from graphnas.strategies.base import Trial
from graphnas.strategies.guided import PredictorGuided
from graphnas.strategies.labels import TARGETS, Labels
from graphnas.testing import AdditiveEstimator, check_strategy

SPACE = registry.get_space("nasbench201")
SMALL = {"predictor_options": {"trees": 4, "reference": 60}, "initial": 6, "candidates": 30, "every": 5, "growth": 1.2}


class ByKey(AdditiveEstimator):
    """The additive score of the first writing of each key, so that equal architectures have equal scores."""

    def __init__(self, space: Space, seed: int = 0, failing: int = 0) -> None:
        super().__init__(space, seed, failing)
        self.memo: dict[str, Evaluation] = {}

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        key = self.space.key(architecture)
        if key not in self.memo:
            self.memo[key] = super().evaluate(architecture, seed=seed)
        return self.memo[key]


class Oracle(Predictor):
    """Predicts the additive score itself, and keeps a record of what it is asked."""

    name = "oracle"

    def __init__(self, space: Space, seed: int = 0, std: float = 0.0) -> None:
        self.space, self.seed, self.std = space, seed, std
        self.fits: list[list[float]] = []
        self.calls: list[list[Architecture]] = []

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        self.fits.append(scores.tolist())

    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        self.calls.append(list(architectures))
        mean = np.array([score(a, self.seed) for a in architectures])
        return Prediction(mean, np.full(len(mean), self.std))

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        pass


def score(a: Architecture, seed: int = 0) -> float:
    return AdditiveEstimator(SPACE, seed).evaluate(a, seed=0).score


def guided(oracle: Oracle, seed: int = 0, **options: Any) -> PredictorGuided:
    options = {"initial": 4, "candidates": 40, "acquisition": "mean", "climbs": 0, "targets": "scores", **options}
    return PredictorGuided(SPACE, np.random.default_rng(seed), lambda space: oracle, **options)


def tell(strategy: PredictorGuided, asked: list[Architecture], scores: list[float]) -> None:
    trials = []
    for a, s in zip(asked, scores, strict=True):
        trials.append(Trial(0, a, SPACE.key(a), "complete" if s == s else "failed", s))
    strategy.tell(trials)


def play(strategy: PredictorGuided, rounds: int, n: int = 3) -> list[Architecture]:
    everything = []
    for _ in range(rounds):
        asked = strategy.ask(n)
        tell(strategy, asked, [score(a) for a in asked])
        everything += asked
    return everything


# -- acquisition --------------------------------------------------------------------------------


def test_expected_improvement_is_the_integral() -> None:
    rng = np.random.default_rng(0)
    mean, std, best = rng.normal(size=20), rng.uniform(0.1, 2, 20), 0.4
    found = ACQUISITIONS["expected_improvement"](Prediction(mean, std), best, rng)
    for m, s, value in zip(mean, std, found, strict=True):
        expected, _ = quad(lambda x, m=m, s=s: (x - best) * norm.pdf(x, m, s), best, m + 12 * s + 12, epsabs=1e-12)
        assert value == pytest.approx(expected, abs=1e-9)
    certain = ACQUISITIONS["expected_improvement"](Prediction(np.array([0.1, 0.9]), np.zeros(2)), best, rng)
    assert certain.tolist() == [0.0, 0.5]
    hopeless = ACQUISITIONS["expected_improvement"](Prediction(np.array([-40.0]), np.ones(1)), best, rng)
    assert hopeless[0] >= 0


def test_the_other_acquisitions() -> None:
    rng = np.random.default_rng(0)
    prediction = Prediction(np.array([1.0, -2.0]), np.array([0.5, 3.0]))
    assert ACQUISITIONS["mean"](prediction, 0, rng).tolist() == [1, -2]
    assert ACQUISITIONS["ucb"](prediction, 0, rng).tolist() == [1.5, 1]
    draws = np.array([ACQUISITIONS["thompson"](prediction, 0, rng) for _ in range(4000)])
    assert np.allclose(draws.mean(0), prediction.mean, atol=5 * np.array([0.5, 3]) / math.sqrt(4000))
    assert np.allclose(draws.std(0), prediction.std, rtol=0.06)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.07


@pytest.mark.parametrize("n", [1, 4, 7])
def test_half_is_the_top_and_half_is_uniform_below_it(n: int) -> None:
    order = np.random.default_rng(0).permutation(30)
    rng = np.random.default_rng(1)
    counts = np.zeros(30)
    rounds = 3000
    for _ in range(rounds):
        chosen = half_top(order, n, 10, rng)
        assert len(set(chosen.tolist())) == n
        counts[[order.tolist().index(i) for i in chosen]] += 1
    assert np.all(counts[10:] == 0)
    assert np.all(counts[: n // 2] == rounds)
    if n % 2 == 0:
        share = (n - n // 2) / (10 - n // 2)
        assert np.allclose(counts[n // 2 : 10] / rounds, share, atol=5 * math.sqrt(share * (1 - share) / rounds))
    else:  # the coin: with chance 1/2 one more from the front
        low, high = n // 2, n // 2 + 1
        first = 0.5 + 0.5 * (n - low) / (10 - low)
        other = 0.5 * (n - low) / (10 - low) + 0.5 * (n - high) / (10 - high)
        expected = np.array([first] + [other] * (9 - low))
        assert np.allclose(counts[low:10] / rounds, expected, atol=5 * math.sqrt(0.25 / rounds))


def test_half_of_a_short_order_is_all_of_it() -> None:
    assert sorted(half_top(np.arange(3), 8, 2, np.random.default_rng(0)).tolist()) == [0, 1, 2]


# -- labels -------------------------------------------------------------------------------------


def test_labels_keep_the_best_and_the_first_score_of_a_key() -> None:
    rng = np.random.default_rng(0)
    labels = Labels(SPACE, keep=5)
    first: dict[str, float] = {}
    for _ in range(300):
        a = SPACE.sample(rng)
        s = float(rng.integers(20)) if rng.random() < 0.8 else math.nan
        labels.tell([Trial(0, a, SPACE.key(a), "", s)])
        if math.isnan(first.get(SPACE.key(a), math.nan)):
            first[SPACE.key(a)] = s
    scored = {k: s for k, s in first.items() if s == s}
    assert len(labels) == len(scored)
    assert labels.told == len(first)
    assert {SPACE.key(a): s for a, s in zip(labels.architectures, labels.scores, strict=True)} == scored
    order = sorted(range(len(labels)), key=lambda i: (-labels.scores[i], i))[:5]
    assert labels.best == [labels.architectures[i] for i in order]
    assert labels.best_score == max(scored.values())
    copy = Labels(SPACE, keep=5)
    copy.load(json.loads(json.dumps(labels.state(), allow_nan=False)))
    assert copy.state() == labels.state()
    assert copy.best == labels.best
    assert all(key in copy for key in first)


def test_targets_keep_the_order_and_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    scores = np.round(np.append(rng.normal(size=60), [-50.0, -1e6, 3.0, 3.0]), 1)
    assert TARGETS["scores"](scores).tolist() == scores.tolist()
    ranks = TARGETS["ranks"](scores)
    assert np.array_equal(np.argsort(scores, kind="stable"), np.argsort(ranks, kind="stable"))
    assert np.array_equal(scores[:, None] == scores, np.isclose(ranks[:, None], ranks, rtol=0, atol=1e-9))
    below = (scores[:, None] > scores).sum(axis=1) + 0.5 * (scores[:, None] == scores).sum(axis=1)
    assert np.allclose(norm.cdf(ranks), below / len(scores), atol=1e-12)
    assert np.allclose(ranks, TARGETS["ranks"](np.exp(scores / 7)), atol=0)  # the order alone
    clipped, bound = TARGETS["clipped"](scores), np.median(scores) - 2 * (3.0 - np.median(scores))
    assert clipped.min() == bound
    assert np.array_equal(clipped[scores >= bound], scores[scores >= bound])
    assert np.allclose(TARGETS["clipped"](5 + 3 * scores), 5 + 3 * clipped)  # no unit matters
    most = np.array([1.0, 2.0, 2.0, 2.0])  # the median is the best: still something to learn
    assert TARGETS["clipped"](most).tolist() == most.tolist()


# -- the strategy -------------------------------------------------------------------------------


def test_each_ask_is_one_prediction_of_distinct_unknown_candidates() -> None:
    oracle = Oracle(SPACE)
    strategy = guided(oracle)
    told: set[str] = set()
    for round_ in range(12):
        before = len(oracle.calls)
        asked = strategy.ask(3)
        if len(told) < 4:
            assert len(oracle.calls) == before
            assert len(asked) == min(3, 4 - len(told))
        else:
            assert len(oracle.calls) == before + 1, f"round {round_}"
            pool = oracle.calls[-1]
            keys = [SPACE.key(a) for a in pool]
            assert len(set(keys)) == len(keys) == 40
            assert not told & set(keys)
            top = sorted(pool, key=score, reverse=True)[:3]
            assert asked == top
        tell(strategy, asked, [score(a) for a in asked])
        told |= {SPACE.key(a) for a in asked}


def test_all_neighbours_of_the_best_are_candidates_then_mutants() -> None:
    oracle = Oracle(SPACE)
    strategy = guided(oracle, parents=1, mutants=1.0)
    play(strategy, 4)
    best = strategy.labels.best[0]
    strategy.ask(3)
    pool = {SPACE.key(a) for a in oracle.calls[-1]}
    near = {SPACE.key(a) for a in SPACE.neighbours(best)}
    assert len(pool) == 40
    assert len(near) < 40
    assert all(key in pool or key in strategy.labels for key in near)
    distances = [
        sum(x != y for x, y in zip(SPACE.encode(a), SPACE.encode(best), strict=True)) for a in oracle.calls[-1]
    ]
    assert set(distances) == {1, 2}


def test_of_too_many_neighbours_a_random_share_is_taken() -> None:
    changed = set()
    for seed in range(12):
        oracle = Oracle(SPACE)
        strategy = guided(oracle, seed=seed, parents=1, mutants=1.0, candidates=3)
        play(strategy, 3)
        best = SPACE.encode(strategy.labels.best[0])
        strategy.ask(3)
        assert len(oracle.calls[-1]) == 3
        for a in oracle.calls[-1]:
            different = [i for i, (x, y) in enumerate(zip(SPACE.encode(a), best, strict=True)) if x != y]
            assert len(different) == 1
            changed.update(different)
    assert len(changed) > 3  # not always the first decisions


def test_nine_in_ten_random_candidates_stay_until_they_are_told() -> None:
    oracle = Oracle(SPACE)
    strategy = guided(oracle, mutants=0.0, candidates=50)
    play(strategy, 3)
    before = [SPACE.key(a) for a in oracle.calls[-1]]
    for _ in range(4):
        play(strategy, 1, n=1)
        now = [SPACE.key(a) for a in oracle.calls[-1]]
        assert len(now) == len(set(now)) == 50
        assert [key for key in before if key in now[:45]] == now[:45]  # the oldest first
        before = now


def test_climbing_ends_where_no_unknown_neighbour_is_better() -> None:
    """On a chain of distinct ops every writing has its own key, so scores and keys go together."""
    choices = [Choice(f"op{i}", tuple("abcdef"), "op") for i in range(8)]
    space = Space("chain", [node("input"), *[node(c, (i,)) for i, c in enumerate(choices)], node("output", (8,))])
    rng = np.random.default_rng(5)
    weights, pairs = rng.normal(size=(8, 6)), rng.normal(size=(8, 6, 6))

    class Rugged(Oracle):
        def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
            self.calls.append(list(architectures))
            return Prediction(np.array([value(a) for a in architectures]), np.ones(len(architectures)))

    def value(a: Architecture) -> float:
        d = space.encode(a)
        return float(sum(weights[i, x] for i, x in enumerate(d)) + sum(pairs[i, d[i - 1], d[i]] for i in range(8)))

    def values(climbs: int) -> list[float]:
        oracle, found = Rugged(space), []
        options = {"initial": 4, "candidates": 60, "acquisition": "mean", "climbs": climbs}
        strategy = PredictorGuided(space, np.random.default_rng(1), lambda space: oracle, **options)  # type: ignore[arg-type]
        for _ in range(12):
            asked = strategy.ask(1)
            if len(strategy.labels) >= 4:
                found.append(value(asked[0]))
                if climbs:
                    near = [a for a in space.neighbours(asked[0]) if space.key(a) not in strategy.labels]
                    assert all(value(a) <= found[-1] for a in near)
            strategy.tell([Trial(0, a, space.key(a), "complete", value(a)) for a in asked])
        return found

    climbed, level = values(100), values(0)
    assert climbed[0] > level[0]  # of the same candidates


def test_it_is_fitted_on_schedule_to_all_labels_but_failed_ones() -> None:
    oracle = Oracle(SPACE)
    strategy = guided(oracle, initial=5, every=3, growth=1.5)
    told: list[float] = []
    expected: list[int] = []
    for number in range(60):
        asked = strategy.ask(1)
        if len(told) >= (5 if not expected else max(expected[-1] + 3, int(1.5 * expected[-1]))):
            expected.append(len(told))
            assert oracle.fits[-1] == told
        assert [len(f) for f in oracle.fits] == expected
        value = math.nan if number % 4 == 3 else score(asked[0])
        tell(strategy, asked, [value])
        if value == value:
            told.append(value)
    assert expected == [5, 8, 12, 18, 27, 40]
    assert all(math.isfinite(s) for f in oracle.fits for s in f)


def test_an_exact_predictor_climbs_to_the_optimum() -> None:
    estimator = ByKey(SPACE)
    strategy = guided(Oracle(SPACE), parents=3, candidates=60)
    found = Search(SPACE, estimator, strategy, budget=40, seed=0).run()
    assert found.best is not None
    assert found.duplicates == 0
    assert found.best.score == pytest.approx(sum(map(max, estimator.weights)), abs=1e-12)


@pytest.mark.parametrize("acquisition", [*ACQUISITIONS, "half_top"])
def test_a_loaded_state_is_fitted_to_the_labels_that_it_had(acquisition: str) -> None:
    strategy = guided(Oracle(SPACE, std=0.3), every=4, acquisition=acquisition)
    play(strategy, 7)
    state = json.loads(json.dumps(strategy.state_dict(), allow_nan=False))
    fresh = Oracle(SPACE, std=0.3)
    other = guided(fresh, seed=9, every=4, acquisition=acquisition)
    other.load_state_dict(state)
    assert isinstance(strategy.learner, Oracle)
    assert fresh.fits == strategy.learner.fits[-1:]
    assert play(other, 5) == play(strategy, 5)


@pytest.mark.parametrize("acquisition", [*ACQUISITIONS, "half_top"])
def test_the_rules_of_strategies(acquisition: str) -> None:
    def make(space: Space, rng: np.random.Generator) -> PredictorGuided:
        return PredictorGuided(space, rng, acquisition=acquisition, **SMALL)  # type: ignore[arg-type]

    make(SPACE, np.random.default_rng(0)).learner.fit([SPACE.decode([d] * 6) for d in range(3)], [0.0, 1, 2])
    check_strategy(make, SPACE, rounds=6)


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    def run(budget: int, store: Path | None) -> list[str]:
        estimator = AdditiveEstimator(SPACE, 1, failing=4)
        options = {"options": SMALL, "seed": 2, "batch": 3, "store": store}
        return [t.key for t in Search(SPACE, estimator, PredictorGuided, budget=budget, **options).run().trials]

    whole = run(25, None)
    assert run(13, tmp_path / "trials.db") == whole[:13]
    assert run(25, tmp_path / "trials.db") == whole


def test_a_space_smaller_than_the_budget_is_searched_to_its_end() -> None:
    choices = [Choice(name, tuple("abc"), "op") for name in ("first", "second", "third")]
    nodes = [node("input"), *[node(c, (i,)) for i, c in enumerate(choices)], node("output", (3,))]
    space = Space("tiny", nodes)
    estimator = AdditiveEstimator(space)
    found = Search(space, estimator, PredictorGuided, options=SMALL, budget=100, seed=0, batch=4).run()
    assert len(found.trials) == space.size == 27
    assert found.duplicates >= 1000


def test_impossible_options_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(GraphnasError, match="unknown acquisition 'uct'; nearest: ucb"):
        PredictorGuided(SPACE, rng, acquisition="uct")
    with pytest.raises(GraphnasError, match="unknown predictor 'random_forrest'; nearest: random_forest"):
        PredictorGuided(SPACE, rng, "random_forrest")
    with pytest.raises(GraphnasError, match="predictor 'surrogate' does not take these options"):
        PredictorGuided(SPACE, rng, predictor_options={"references": 3})
    with pytest.raises(GraphnasError, match="which is no Predictor"):
        PredictorGuided(SPACE, rng, lambda space: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(GraphnasError, match="give a registered name or a callable"):
        PredictorGuided(SPACE, rng, 3)  # type: ignore[arg-type]
    with pytest.raises(GraphnasError, match="unknown targets 'rank'; nearest: ranks"):
        PredictorGuided(SPACE, rng, targets="rank")
    for wrong in ({"candidates": 0}, {"parents": 0}, {"mutants": 1.5}, {"top": 0}, {"climbs": -1}):
        with pytest.raises(GraphnasError, match="predictor-guided search needs"):
            PredictorGuided(SPACE, rng, **wrong)  # type: ignore[arg-type]
    for wrong in ({"initial": 1}, {"every": 0}, {"growth": 0.5}):
        with pytest.raises(GraphnasError, match="a strategy that learns needs"):
            PredictorGuided(SPACE, rng, **wrong)  # type: ignore[arg-type]
