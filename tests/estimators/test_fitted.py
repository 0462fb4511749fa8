"""Predictors fitted to noisy scores take the noise away (the synthetic tests of the method)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from graphnas.architecture import node
from graphnas.errors import GraphnasError
from graphnas.estimators.fitted import FittedScores
from graphnas.estimators.function import FunctionEstimator
from graphnas.metrics import kendall_tau
from graphnas.prediction_table import PredictionTable
from graphnas.space import Choice, Space
from graphnas.testing import check_estimator

OPS, CELLS = 6, 7


def chain(cells=CELLS, ops=OPS):
    nodes = [node("input")]
    for i in range(cells):
        nodes.append(node(Choice(f"cell{i}", tuple(f"op{k}" for k in range(ops)), "op"), [i]))
    return Space("chain", [*nodes, node("output", [cells])])


class Landscape:
    """Additive truth with interactions of neighbouring cells, of unit variance; scores are the truth plus as much noise."""

    def __init__(self, seed, cells=CELLS, ops=OPS):
        rng = np.random.default_rng(seed)
        self.space = chain(cells, ops)
        self.single = rng.normal(size=(cells, ops))
        self.pairs = 0.4 * rng.normal(size=(cells - 1, ops, ops))
        sample = np.array([self.raw(rng.integers(ops, size=cells)) for _ in range(500)])
        self.mean, self.sd, self.seed = sample.mean(), sample.std(), seed

    def raw(self, d):
        pairs = sum(table[a, b] for table, a, b in zip(self.pairs, d, d[1:], strict=False))
        return sum(row[k] for row, k in zip(self.single, d, strict=True)) + pairs

    def truth(self, architecture):
        return (self.raw(self.space.encode(architecture)) - self.mean) / self.sd

    def noisy(self, architecture):
        decisions = self.space.encode(architecture)
        return self.truth(architecture) + np.random.default_rng([self.seed, 99, *decisions]).normal()

    def estimator(self):
        return FunctionEstimator(self.space, self.noisy, metric="noisy")

    def draws(self, count, seed=5):
        rng = np.random.default_rng(seed)
        return [self.space.sample(rng) for _ in range(count)]


GCN = {
    "networks": 1,
    "width": 32,
    "layers": 3,
    "steps": 80,
    "kernel": False,
    "trees": 0,
    "reference": 200,
    "loss": "mse",
}


def test_the_gcn_ranks_better_than_the_scores_that_it_was_fitted_to():
    landscape = Landscape(0)
    fresh = landscape.draws(500)
    true = np.array([landscape.truth(a) for a in fresh])
    raw = kendall_tau([landscape.noisy(a) for a in fresh], true)
    assert 0.4 < raw < 0.6
    found = []
    for samples in (150, 800):
        fitted = FittedScores(landscape.estimator(), "gcn", GCN, samples=samples).fit()
        found.append(kendall_tau(fitted.predictor.predict(fresh).mean, true))
    assert found[0] < found[1]
    assert found[1] >= raw + 0.15


def test_what_is_selected_is_truly_better():
    better = 0
    for seed in range(10):
        landscape = Landscape(seed, cells=4)
        fitted = FittedScores(
            landscape.estimator(), "surrogate", {"trees": 0, "reference": 100}, samples=150, seed=seed
        ).fit()
        by_score = sorted(fitted.scored, key=lambda pair: -pair[1])[:10]
        scored = [a for a, _ in fitted.scored]
        by_fit = PredictionTable.of(fitted.predictor, scored).top(10)
        means = [np.mean([landscape.truth(a) for a in chosen]) for chosen in (by_fit, [a for a, _ in by_score])]
        better += means[0] > means[1]
    assert better == 10


def test_a_table_answers_every_limit_as_brute_force_does():
    landscape = Landscape(3, cells=3)
    fitted = FittedScores(landscape.estimator(), "surrogate", {"trees": 5, "reference": 50}, samples=60)
    costs = np.random.default_rng(0).random((3, OPS))

    def cost(architecture):
        return float(sum(row[k] for row, k in zip(costs, landscape.space.encode(architecture), strict=True)))

    table = fitted.table(cost)
    everything = list(landscape.space.enumerate())
    predicted = fitted.predictor.predict(everything).mean
    prices = np.array([cost(a) for a in everything])
    before = -math.inf
    for limit in np.quantile(prices, [0.0, 0.01, 0.1, 0.3, 0.6, 1.0]):
        best = table.best(limit)
        value = float(fitted.predictor.predict([best]).mean[0])
        assert cost(best) <= limit
        assert value == pytest.approx(predicted[prices <= limit].max())
        assert value >= before - 1e-12
        before = value
    ranked = table.top(20, float(np.median(prices)))
    values = fitted.predictor.predict(ranked).mean
    assert (np.diff(values) <= 1e-12).all()
    with pytest.raises(GraphnasError, match="the cheapest costs"):
        table.best(prices.min() - 1)


def test_later_rounds_score_where_the_prediction_is_best():
    landscape = Landscape(1, cells=5)
    options = {"trees": 0, "reference": 100}
    fitted = FittedScores(landscape.estimator(), "surrogate", options, samples=200, rounds=2).fit()
    assert len(fitted.scored) == 200
    assert len({landscape.space.encode(a) for a, _ in fitted.scored}) == 200
    first, second = (
        np.mean([landscape.truth(a) for a, _ in part]) for part in (fitted.scored[:100], fitted.scored[100:])
    )
    assert second > first + 1


def test_the_rules_of_estimators_hold():
    landscape = Landscape(2, cells=3)
    estimator = FunctionEstimator(landscape.space, _additive, metric="noisy")
    check_estimator(FittedScores(estimator, "surrogate", {"trees": 5, "reference": 50}, samples=40))
    with pytest.raises(GraphnasError, match="samples"):
        FittedScores(estimator, samples=3, rounds=2)
    with pytest.raises(GraphnasError, match="predictor"):
        FittedScores(estimator, "oracle")


def _additive(architecture):
    return float(sum(i * int(n.op[2:]) for i, n in enumerate(architecture.nodes) if n.op.startswith("op")))


def test_tables_need_a_score_for_everything():
    members = list(itertools.islice(chain(2, 2).enumerate(), 4))
    with pytest.raises(GraphnasError, match="one score and one cost"):
        PredictionTable(members, np.zeros(3))
