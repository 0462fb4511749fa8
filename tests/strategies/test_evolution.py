"""Regularised evolution: who is alive, who wins, and that age kills."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from graphnas.architecture import Architecture, node
from graphnas.errors import GraphnasError
from graphnas.search import Search
from graphnas.space import Choice, Decisions, Space
from graphnas.strategies.base import Trial
from graphnas.strategies.evolution import RegularisedEvolution
from graphnas.testing import AdditiveEstimator


def words(length: int = 5, letters: str = "abcd") -> Space:
    inner = [node(Choice(f"c{i}", tuple(letters), "op"), (i,)) for i in range(length)]
    return Space("words", [node("input"), *inner, node("output", (length,))])


SPACE = words()


def trial(number: int, a: Architecture, score: float) -> Trial:
    return Trial(number, a, SPACE.key(a), "complete" if score == score else "failed", score)


def changes(a: Decisions, b: Decisions) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


def test_the_population_is_the_last_ones_whatever_their_scores() -> None:
    strategy = RegularisedEvolution(SPACE, np.random.default_rng(0), population=7, sample=3)
    told: list[Decisions] = []
    for number in range(30):
        (a,) = strategy.ask(1)
        told.append(SPACE.encode(a))
        strategy.tell([trial(number, a, -float(number))])  # the oldest are the best, and die all the same
        alive = [tuple(d) for d, _ in strategy.state_dict()["alive"]]
        assert alive == told[-7:]


def test_children_are_single_changes_of_members() -> None:
    strategy = RegularisedEvolution(SPACE, np.random.default_rng(1), population=6, sample=2)
    told: list[Decisions] = []
    for number in range(60):
        (a,) = strategy.ask(1)
        made = SPACE.encode(a)
        if number >= 6:
            assert any(changes(made, parent) == 1 for parent in told[-6:])
        told.append(made)
        strategy.tell([trial(number, a, float(number % 5))])


def test_parents_win_tournaments_as_often_as_enumeration_says() -> None:
    """All 4^3 tournaments of three among four members, drawn with replacement; a failed member never wins by score."""
    scores = [0.3, float("nan"), 0.9, 0.5]
    letters = [SPACE.decode([i] * 5) for i in range(4)]  # a single change leaves four equal letters: the parent
    rank = [-np.inf if s != s else s for s in scores]
    tournaments = list(itertools.product(range(4), repeat=3))
    wins = Counter(max(t, key=rank.__getitem__) for t in tournaments)
    strategy = RegularisedEvolution(SPACE, np.random.default_rng(2), population=4, sample=3)
    strategy.ask(4)
    strategy.tell([trial(i, a, s) for i, (a, s) in enumerate(zip(letters, scores, strict=True))])
    parents: Counter[int] = Counter()
    draws = 3200
    for a in strategy.ask(draws):
        parents[Counter(SPACE.encode(a)).most_common(1)[0][0]] += 1
    expected = np.array([wins[i] * draws / 64 for i in range(4)])
    assert wins[1] == 1  # only the tournament of the failed member against itself
    observed = np.array([parents[i] for i in range(4)])
    assert chi2.sf(((observed - expected) ** 2 / expected).sum(), 3) > 1e-3


def test_a_tournament_of_everybody_climbs_a_smooth_hill() -> None:
    estimator = AdditiveEstimator(SPACE, seed=4)
    best = sum(map(max, estimator.weights))
    options = {"population": 10, "sample": 30}
    found = Search(SPACE, estimator, "evolution", options=options, budget=150, seed=0).run()
    assert found.best is not None
    assert found.best.score == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("options", [{"population": 0}, {"sample": 0}, {"population": -3}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(GraphnasError, match="population >= 1 and sample >= 1"):
        RegularisedEvolution(SPACE, np.random.default_rng(0), **options)


def test_unknown_options_are_refused_by_the_search() -> None:
    with pytest.raises(GraphnasError, match="does not take these options"):
        Search(SPACE, AdditiveEstimator(SPACE), "evolution", options={"populaton": 3})


def test_the_state_is_strict_json_after_a_failed_trial() -> None:
    strategy = RegularisedEvolution(SPACE, np.random.default_rng(0), population=2)
    strategy.tell([trial(0, strategy.ask(1)[0], float("nan"))])
    json.dumps(strategy.state_dict(), allow_nan=False)
