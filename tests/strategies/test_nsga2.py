"""NSGA-II: selection against the definition, constraints, and what a search with it finds."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from graphnas.architecture import Architecture, node
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.hypervolume import hypervolume
from graphnas.pareto import crowding_distance, non_dominated, non_dominated_ranks
from graphnas.search import Search
from graphnas.space import Choice, Space
from graphnas.strategies.base import Trial
from graphnas.strategies.nsga2 import NSGA2, Member, select

NODES = [node("input"), *(node(Choice(f"op{i}", tuple("abcd"), "op"), (i,)) for i in range(6)), node("output", (6,))]
SPACE = Space("chain6", NODES)
WEIGHTS = np.random.default_rng(5).uniform(0.1, 1.0, size=(2, 6, 4))


def figures(decisions: tuple[int, ...]) -> tuple[float, float]:
    """A quality that grows with the later options, with diminishing returns, and a cost."""
    quality = math.sqrt(sum(WEIGHTS[0, i, : d + 1].sum() for i, d in enumerate(decisions)))
    return quality, float(sum(WEIGHTS[1, i, : d + 1].sum() for i, d in enumerate(decisions)))


class TwoFigures(Estimator):
    name, space, metric, cheap = "two figures", SPACE, "quality", True

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        quality, cost = figures(SPACE.encode(architecture))
        return Evaluation(quality, {"latency": cost})


def member(number: int, values: tuple[float, ...], violation: float = 0.0) -> Member:
    return Member(Architecture([node("input"), node("output", (0,))]), str(number), values, violation)


def found(strategy: str, seed: int, **given: Any) -> np.ndarray:
    result = Search(SPACE, TwoFigures(), strategy, budget=200, seed=seed, **given).run()
    assert len(result.trials) == 200
    return np.array([[t.score, -t.metrics["latency"]] for t in result.trials])


def test_survivors_are_whole_fronts_and_then_the_least_crowded() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((40, 2)).round(2)
    over = rng.choice([0.0, 0.0, 0.3], size=40)
    members = [member(i, tuple(p), v) for i, (p, v) in enumerate(zip(points.tolist(), over.tolist(), strict=True))]
    ranks = non_dominated_ranks(points, over)
    for count in (1, 7, 20, 40):
        kept = select(members, count)
        assert len(set(kept)) == count
        last = ranks[kept].max()
        assert set(np.flatnonzero(ranks < last)) <= set(kept)
        edge = np.flatnonzero(ranks == last)
        room = dict(zip(edge.tolist(), crowding_distance(points[edge]).tolist(), strict=True))
        inside, outside = [room[i] for i in room if i in kept], [room[i] for i in room if i not in kept]
        assert not outside or min(inside) >= max(outside)


def test_failed_members_are_the_last_to_survive() -> None:
    members = [member(0, (math.nan,)), member(1, (1.0,), 5.0), member(2, (0.0,)), member(3, (2.0,), math.inf)]
    assert select(members, 4)[:2] == [2, 1]
    assert set(select(members, 3)) == {1, 2, 3}


def test_it_finds_more_of_the_front_than_random_search() -> None:
    every = np.array([figures(d) for d in itertools.product(range(4), repeat=6)]) * [1, -1]
    reference = every.min(axis=0)
    whole = hypervolume(every[non_dominated(every)], reference)
    shares = {
        name: [hypervolume(found(name, seed, objectives="quality,-latency"), reference) / whole for seed in range(3)]
        for name in ("nsga2", "random")
    }
    assert min(shares["nsga2"]) > 0.95
    assert min(shares["nsga2"]) > max(shares["random"])


def test_a_constraint_moves_the_search_to_where_it_is_kept() -> None:
    limit = sorted(figures(d)[1] for d in itertools.product(range(4), repeat=6))[9]  # ten of 4,096 keep it
    result = Search(
        SPACE, TwoFigures(), "nsga2", budget=200, objectives="quality", constraints=[f"latency<={limit!r}"]
    ).run()
    kept = [t for t in result.trials if t.metrics["latency"] <= limit]
    assert result.best is not None
    assert result.best.score == max(t.score for t in kept)
    assert len(kept) >= 8
    blind = Search(SPACE, TwoFigures(), "random", budget=200, objectives="quality", constraints=[f"latency<={limit!r}"])
    assert sum(t.metrics["latency"] <= limit for t in blind.run().trials) < 4


def test_copies_are_kept_once_and_children_are_new_to_the_population() -> None:
    strategy = NSGA2(SPACE, np.random.default_rng(0), population=6)
    for number in range(30):
        asked = strategy.ask(3)
        alive = {m.key for m in strategy._parents}
        assert not alive & {SPACE.key(a) for a in asked}
        told = [Trial(number, a, SPACE.key(a), "complete", figures(SPACE.encode(a))[0]) for a in asked]
        strategy.tell(told)
        keys = [m.key for m in strategy._parents]
        assert len(keys) == len(set(keys)) <= 6


def test_with_one_objective_the_best_is_never_lost() -> None:
    strategy, best = NSGA2(SPACE, np.random.default_rng(1), population=5), -math.inf
    for number in range(25):
        (a,) = strategy.ask(1)
        score = figures(SPACE.encode(a))[0]
        best = max(best, score)
        strategy.tell([Trial(number, a, SPACE.key(a), "complete", score)])
        if number % 5 == 4:
            assert max(m.values[0] for m in strategy._parents) == best


def test_bad_arguments_are_refused_in_a_line() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(GraphnasError, match="population >= 2"):
        NSGA2(SPACE, rng, population=1)
    with pytest.raises(GraphnasError, match="from 0 to 1"):
        NSGA2(SPACE, rng, mutation=1.5)
    with pytest.raises(GraphnasError, match=r"does not report 'energy' \(its metrics: latency\)"):
        Search(SPACE, TwoFigures(), "nsga2", objectives="quality,-energy").run()
    with pytest.raises(GraphnasError, match="better when larger"):
        Search(SPACE, TwoFigures(), "nsga2", objectives="-quality")
