"""What fails is learned: against Bayes' rule on tables of counts, and in a search where most of the space fails."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from graphnas.architecture import Architecture
from graphnas.strategies.base import Trial
from graphnas.strategies.feasibility import Feasibility
from graphnas.strategies.guided import PredictorGuided
from spaces import nasbench201

SPACE = nasbench201.space()


def test_the_probability_is_that_of_bayes_rule_with_laplaces_counts() -> None:
    rng = np.random.default_rng(0)
    told = [SPACE.sample(rng) for _ in range(40)]
    fine = [SPACE.encode(a)[0] != 2 for a in told]
    feasibility = Feasibility(SPACE)
    for a, good in zip(told, fine, strict=True):
        feasibility.tell(a, good)
    asked = [SPACE.sample(rng) for _ in range(10)]
    for a, found in zip(asked, feasibility.probability(asked), strict=True):
        joint = []
        for outcome in (True, False):
            rows = [SPACE.encode(b) for b, good in zip(told, fine, strict=True) if good == outcome]
            p = (len(rows) + 1) / (len(told) + 2)
            for place, option in enumerate(SPACE.encode(a)):
                p *= (sum(row[place] == option for row in rows) + 1) / (len(rows) + 5)
            joint.append(p)
        assert found == pytest.approx(joint[0] / sum(joint))


def test_nothing_is_doubted_while_one_in_ten_fails() -> None:
    rng = np.random.default_rng(0)
    feasibility = Feasibility(SPACE)
    some = [SPACE.sample(rng) for _ in range(30)]
    assert feasibility.hopeful(some).all()
    for number, a in enumerate(some):
        feasibility.tell(a, number % 10 != 0)
    assert not feasibility.doubtful
    assert feasibility.hopeful(some).all()
    feasibility.tell(some[0], False)
    assert feasibility.doubtful
    assert not feasibility.hopeful(some).all()
    assert feasibility.hopeful(some).any()
    other = Feasibility(SPACE)
    other.load(json.loads(json.dumps(feasibility.state())))
    np.testing.assert_array_equal(other.probability(some), feasibility.probability(some))


def can(a: Architecture) -> bool:
    """One cell in thirteen: the first three edges hold no convolution."""
    return all(d in (0, 1) for d in SPACE.encode(a)[:3])


def test_a_search_finds_its_way_where_most_trials_fail() -> None:
    good = np.zeros((4, 70))
    for seed, row in enumerate(good):
        strategy = PredictorGuided(SPACE, np.random.default_rng(seed), predictor_options={"trees": 5, "reference": 100})
        for number in range(70):
            (a,) = strategy.ask(1)
            row[number] = can(a)
            score = float(sum(SPACE.encode(a)[3:])) if can(a) else math.nan
            strategy.tell([Trial(number, a, SPACE.key(a), "complete" if can(a) else "failed", score)])
    assert good.mean() > 0.2  # chance: 0.064
    assert good[:, 40:].mean() > 0.35
