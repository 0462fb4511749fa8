"""Local search: the whole neighbourhood, the best move, and a new start at a local optimum."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from graphnas.architecture import node
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Decisions, Space
from graphnas.strategies.base import Trial
from graphnas.strategies.local_search import LocalSearch
from graphnas.testing import AdditiveEstimator

INNER = [node(Choice(f"c{i}", tuple("abc"), "op"), (i,)) for i in range(4)]
SPACE = Space("words", [node("input"), *INNER, node("output", (4,))])
Score = Callable[[Decisions], float]


def near(d: Decisions) -> set[Decisions]:
    return {e for e in product(range(3), repeat=4) if sum(x != y for x, y in zip(d, e, strict=True)) == 1}


def walk(strategy: LocalSearch, score: Score, evaluations: int, batch: int = 1) -> list[Decisions]:
    """Everything that was asked for, in order."""
    asked: list[Decisions] = []
    while len(asked) < evaluations:
        trials = []
        for a in strategy.ask(batch):
            made = SPACE.encode(a)
            value = score(made)
            status = "complete" if value == value else "failed"
            trials.append(Trial(len(asked), a, SPACE.key(a), status, value))
            asked.append(made)
        strategy.tell(trials)
    return asked


def rough(d: Decisions) -> float:
    return float(np.random.default_rng(list(d)).random())


@pytest.mark.parametrize("batch", [1, 3, 5, 100])
@pytest.mark.parametrize("seed", range(4))
def test_it_visits_exactly_the_neighbourhood_and_moves_to_the_best(batch: int, seed: int) -> None:
    """The climb of a rough landscape, replayed by hand: start, all 8 neighbours, best of them, and so on."""
    strategy = LocalSearch(SPACE, np.random.default_rng(seed))
    asked = walk(strategy, rough, 200, batch)
    at, restarts = 0, 0
    while at + 9 <= 200:
        centre = asked[at]
        at += 1
        while at + 8 <= 200:
            ring = asked[at : at + 8]
            assert len(ring) == len(set(ring))
            assert set(ring) == near(centre)
            at += 8
            best = max(ring, key=rough)
            if rough(best) <= rough(centre):
                restarts += 1
                break
            centre = best
    assert restarts >= 3


def test_the_first_improvement_is_taken_at_once() -> None:
    estimator = AdditiveEstimator(SPACE, seed=1)

    def score(d: Decisions) -> float:
        return estimator.evaluate(SPACE.decode(d), seed=0).score

    asked = walk(LocalSearch(SPACE, np.random.default_rng(0), move="first"), score, 60)
    centre = asked[0]
    seen = 0
    for made in asked[1:]:
        if seen == 8:  # a whole neighbourhood without an improvement: this is a new start
            assert all(score(d) <= score(centre) for d in near(centre))
            centre, seen = made, 0
            continue
        assert made in near(centre)
        seen += 1
        if score(made) > score(centre):
            centre, seen = made, 0


def test_the_climb_starts_at_the_best_of_the_initial_ones() -> None:
    asked = walk(LocalSearch(SPACE, np.random.default_rng(3), initial=6), rough, 14, batch=4)
    centre = max(asked[:6], key=rough)
    assert set(asked[6:14]) == near(centre)


def test_failed_neighbours_are_passed_over_and_failed_starts_are_replaced() -> None:
    def fails(d: Decisions) -> float:
        return float("nan") if d[0] == 0 else rough(d)

    for seed in range(6):
        asked = walk(LocalSearch(SPACE, np.random.default_rng(seed)), fails, 9)
        start = next(i for i, d in enumerate(asked) if d[0] != 0)
        if start == 0:
            assert set(asked[1:9]) == near(asked[0])
    everything = walk(LocalSearch(SPACE, np.random.default_rng(0)), lambda d: float("nan"), 500)
    assert len(set(everything)) > 70  # of 81: nothing but new starts


def test_equal_scores_are_a_local_optimum() -> None:
    asked = walk(LocalSearch(SPACE, np.random.default_rng(0)), lambda d: 1.0, 27)
    assert all(set(asked[i + 1 : i + 9]) == near(asked[i]) for i in (0, 9, 18))


def test_impossible_options_are_refused() -> None:
    with pytest.raises(GraphnasError, match="unknown move of local search 'beste'; nearest: best"):
        LocalSearch(SPACE, np.random.default_rng(0), move="beste")
    with pytest.raises(GraphnasError, match="at least one initial"):
        LocalSearch(SPACE, np.random.default_rng(0), initial=0)
