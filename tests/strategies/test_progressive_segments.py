"""Segment by segment: as good as looking at everything where everything is kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

from graphnas.architecture import node
from graphnas.errors import GraphnasError
from graphnas.estimators.function import FunctionEstimator
from graphnas.predictor import Prediction, Predictor
from graphnas.search import Search
from graphnas.space import Choice, Space
from graphnas.strategies.progressive_segments import ProgressiveSegments


class LeastSquares(Predictor):
    """A linear function of the one-hot decisions and of the pairs of neighbouring ones."""

    name = "least_squares"

    def __init__(self, space):
        self.space = space

    def _columns(self, architectures):
        rows = np.array([self.space.encode(a) for a in architectures])
        single = [(rows[:, i] == k) for i, radix in enumerate(self.space.radices) for k in range(radix)]
        width = max(self.space.radices)
        joint = [rows[:, i] * width + rows[:, i + 1] == k for i in range(rows.shape[1] - 1) for k in range(width**2)]
        return np.stack([*single, *joint], axis=1).astype(float)

    def _fit(self, architectures, scores):
        self.weights_ = np.linalg.lstsq(self._columns(architectures), scores, rcond=1e-10)[0]

    def _predict(self, architectures):
        mean = self._columns(architectures) @ self.weights_
        return Prediction(mean, np.zeros_like(mean))

    def _arrays(self):
        return {"weights": self.weights_}

    def _set_arrays(self, arrays):
        self.weights_ = arrays["weights"]


def chain(cells=6, ops=4):
    nodes = [node("input")]
    for i in range(cells):
        nodes.append(node(Choice(f"cell{i}", tuple(f"op{k}" for k in range(ops)), "op"), [i]))
    return Space("chain", [*nodes, node("output", [cells])])


class Truth:
    def __init__(self, seed, space):
        rng = np.random.default_rng(seed)
        self.space = space
        cells, ops = len(space.radices), space.radices[0]
        self.single, self.pairs = rng.normal(size=(cells, ops)), 0.4 * rng.normal(size=(cells - 1, ops, ops))
        self.values = {space.encode(a): self(a) for a in space.enumerate()}

    def __call__(self, architecture):
        d = self.space.encode(architecture)
        pairs = sum(table[a, b] for table, a, b in zip(self.pairs, d, d[1:], strict=False))
        return float(sum(row[k] for row, k in zip(self.single, d, strict=True)) + pairs)

    def search(self, budget=10_000, **options):
        given = {"predictor": LeastSquares, **options}
        estimator = FunctionEstimator(self.space, self, metric="truth")
        return Search(self.space, estimator, ProgressiveSegments, options=given, budget=budget, seed=0, batch=7)


def test_keeping_everything_is_exhaustive():
    truth = Truth(0, chain(4, 3))
    best = max(truth.values.values())
    result = truth.search(segments=2, samples=60, keep=9).run()
    assert result.stopped == "the strategy has nothing more to propose"
    proposed = [t.score for t in result.trials if t.number >= 0]
    assert result.best.score == pytest.approx(best)
    assert len({truth.space.encode(t.architecture) for t in result.trials}) == 81 == len(proposed)


def test_six_kept_settings_lose_little():
    regrets = []
    for seed in range(10):
        truth = Truth(seed, chain())
        strategy = ProgressiveSegments(
            truth.space, np.random.default_rng(seed), LeastSquares, segments=3, samples=150, keep=6
        )
        first = _final(strategy, truth)[0]
        values = np.array(list(truth.values.values()))
        regrets.append((values.max() - truth(first)) / values.std())
    assert max(regrets) < 1.0
    assert np.mean(regrets) <= 0.2


def _final(strategy, truth):
    """What is proposed in the end, in order."""
    for _ in range(len(strategy.segments)):
        asked = strategy.ask(strategy.samples)
        strategy.tell([_trial(a, truth(a)) for a in asked])
    return strategy.ask(10_000)


def _trial(architecture, score):
    from graphnas.strategies.base import Trial

    return Trial(0, architecture, "", "complete", score)


def test_proposals_keep_the_limit_and_come_best_first():
    truth = Truth(1, chain(5, 3))
    price = lambda a: float(sum(truth.space.encode(a)))  # noqa: E731
    free = [truth(a) for a in truth.space.enumerate()]
    before = -np.inf
    for limit in (2.0, 5.0, 10.0):
        rng = np.random.default_rng(0)
        strategy = ProgressiveSegments(
            truth.space, rng, LeastSquares, segments=1, samples=200, keep=300, cost=price, limit=limit
        )
        found = _final(strategy, truth)
        values = [truth(a) for a in found]
        fitting = [truth(a) for a in truth.space.enumerate() if price(a) <= limit]
        assert all(price(a) <= limit for a in found)
        assert values == sorted(values, reverse=True)
        assert values[0] == pytest.approx(max(fitting))
        assert values[0] >= before
        before = values[0]
    assert before == pytest.approx(max(free))
    strategy = ProgressiveSegments(truth.space, rng, LeastSquares, samples=20, cost=price, limit=-1.0)
    with pytest.raises(GraphnasError, match="met the limit"):
        _final(strategy, truth)


def test_later_segments_are_drawn_with_kept_settings():
    truth = Truth(2, chain())
    strategy = ProgressiveSegments(truth.space, np.random.default_rng(0), LeastSquares, segments=3, samples=100, keep=2)
    seen = []
    for _ in range(3):
        asked = strategy.ask(100)
        seen.append({truth.space.encode(a) for a in asked})
        strategy.tell([_trial(a, truth(a)) for a in asked])
    heads = [{d[:2] for d in drawn} for drawn in seen]
    assert len(heads[0]) > 10
    assert heads[1] == heads[2] == set(strategy._kept[0])
    assert {d[2:4] for d in seen[2]} == set(strategy._kept[1])


def test_its_state_goes_through_json():
    truth = Truth(3, chain(4, 3))

    def make():
        rng = np.random.default_rng(4)
        return ProgressiveSegments(truth.space, rng, LeastSquares, segments=2, samples=30, keep=4)

    first, second = make(), make()
    for _ in range(12):
        asked = first.ask(7)
        first.tell([_trial(a, truth(a)) for a in asked])
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert [truth.space.encode(a) for a in second.ask(5)] == [
            truth.space.encode(a) for a in _copy(first, make).ask(5)
        ]


def _copy(strategy, make):
    other = make()
    other.load_state_dict(strategy.state_dict())
    return other


def test_what_cannot_be_cut_is_told():
    space, rng = chain(), np.random.default_rng(0)
    for options in ({"segments": 7}, {"samples": 1}, {"keep": 0}, {"contexts": 0}):
        with pytest.raises(GraphnasError, match="progressive segments need"):
            ProgressiveSegments(space, rng, LeastSquares, **options)
    with pytest.raises(GraphnasError, match="a limit needs a cost"):
        ProgressiveSegments(space, rng, LeastSquares, limit=3.0)
    with pytest.raises(GraphnasError, match="choose more segments"):
        ProgressiveSegments(chain(12, 6), rng, LeastSquares, segments=1)
    assert [len(s) for s in ProgressiveSegments(chain(12, 6), rng, LeastSquares).segments] == [5, 5, 2]
