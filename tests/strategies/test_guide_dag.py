"""Guide-DAG search: its probabilities and its step against the formulas, and that it finds what is good."""

from __future__ import annotations

import numpy as np
import pytest

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.strategies.base import Trial
from graphnas.strategies.guide_dag import GuideDag
from spaces import nasbench101, nasbench201

SPACE = nasbench201.space()


def trial(number: int, architecture: Architecture, score: float, status: str = "complete") -> Trial:
    return Trial(number, architecture, SPACE.key(architecture), status, score)


def test_weights_move_by_standardised_scores_after_the_warm_up() -> None:
    strategy = GuideDag(SPACE, np.random.default_rng(0), rate=0.5, warm=4)
    asked = strategy.ask(4)
    scores = [1.0, 4.0, 2.0, 9.0]
    strategy.tell([trial(i, a, s) for i, (a, s) in enumerate(zip(asked[:3], scores, strict=False))])
    assert not any(w.any() for w in strategy.weights)
    strategy.tell([trial(3, asked[3], scores[3])])
    gains = (np.array(scores) - np.mean(scores)) / np.std(scores)
    for place, weights in enumerate(strategy.weights):
        expected = np.zeros(5)
        for a, gain in zip(asked, gains, strict=True):
            expected[SPACE.encode(a)[place]] += 0.5 * gain
        np.testing.assert_allclose(weights, expected, atol=1e-12)
    for w, p in zip(strategy.weights, strategy.probabilities(), strict=True):
        np.testing.assert_allclose(p, 0.9 * np.exp(w) / np.exp(w).sum() + 0.1 / 5)


def test_draws_follow_the_probabilities() -> None:
    strategy = GuideDag(SPACE, np.random.default_rng(1), floor=0.2)
    strategy.weights = [np.array([0.0, 1.0, -1.0, 2.0, 0.5]) * (i - 2) for i in range(6)]
    drawn = np.array([SPACE.encode(strategy.ask(1)[0]) for _ in range(4000)])
    for place, p in enumerate(strategy.probabilities()):
        counts = np.bincount(drawn[:, place], minlength=5)
        assert ((counts - 4000 * p) ** 2 / (4000 * p)).sum() < 23.5  # chi-square, 4 degrees of freedom, 1 in 10,000


def test_failed_trials_lower_what_they_used() -> None:
    strategy = GuideDag(SPACE, np.random.default_rng(0), rate=1.0, warm=2)
    first, second, broken = strategy.ask(3)
    strategy.tell([trial(0, first, 0.0), trial(1, second, 1.0), trial(2, broken, float("nan"), "failed")])
    for place, weights in enumerate(strategy.weights):
        used = [SPACE.encode(a)[place] for a in (first, second, broken)]
        expected = np.zeros(5)
        np.add.at(expected, used, [-1.0, 1.0, -2.0])
        np.testing.assert_allclose(weights, expected, atol=1e-12)


def test_it_finds_the_best_of_a_known_order_in_fewer_trials_than_chance() -> None:
    """The score counts how many decisions agree with a target; after 150 trials chance has 3.9 of 6 on average."""
    target = (3, 1, 2, 3, 0, 4)
    best = []
    for seed in range(5):
        strategy = GuideDag(SPACE, np.random.default_rng(seed))
        scores: list[float] = []
        while len(scores) < 150:
            asked = strategy.ask(10)
            told = [float(np.equal(SPACE.encode(a), target).sum()) for a in asked]
            strategy.tell([trial(len(scores) + i, a, s) for i, (a, s) in enumerate(zip(asked, told, strict=True))])
            scores += told
        best.append(max(scores))
    assert np.mean(best) >= 5.4


def test_only_valid_members_are_asked_for_and_arguments_are_checked() -> None:
    space = nasbench101.space()
    assert all(space.contains(a) for a in GuideDag(space, np.random.default_rng(0)).ask(20))
    with pytest.raises(GraphnasError, match="needs rate > 0"):
        GuideDag(SPACE, np.random.default_rng(0), floor=1.5)
