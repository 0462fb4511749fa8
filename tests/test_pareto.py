"""Fronts, ranks, crowding and hypervolume against brute force, inclusion and exclusion, and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from graphnas.architecture import Architecture, node
from graphnas.errors import GraphnasError
from graphnas.hypervolume import hypervolume, improvement, inside
from graphnas.objectives import (
    SCORE,
    Constraint,
    Objective,
    limited,
    named,
    parse_constraints,
    parse_objectives,
    values,
    violation,
)
from graphnas.pareto import crowding_distance, dominates, front, non_dominated, non_dominated_ranks
from graphnas.strategies.base import Trial

CLOUDS = [(n, m, levels) for m in (1, 2, 3, 4) for n, levels in ((1, 3), (12, 3), (40, 5), (60, 1000))]


def cloud(n: int, m: int, levels: int, seed: int = 0) -> np.ndarray:
    """Points with many ties where there are few levels."""
    return np.random.default_rng([n, m, levels, seed]).integers(levels, size=(n, m)).astype(float)


def trial(number: int, score: float, status: str = "complete", **metrics: float) -> Trial:
    return Trial(number, Architecture([node("input"), node("output", (0,))]), str(number), status, score, metrics)


def beaten(points: np.ndarray, violations: np.ndarray, i: int, j: int) -> bool:
    """Whether i dominates j by the definition of constrained domination."""
    if violations[i] or violations[j]:
        return bool(violations[i] < violations[j])
    return dominates(points[i], points[j])


@pytest.mark.parametrize(("n", "m", "levels"), CLOUDS)
def test_the_front_is_what_no_point_dominates(n: int, m: int, levels: int) -> None:
    points = cloud(n, m, levels)
    expected = [not any(dominates(q, p) for q in points) for p in points]
    assert non_dominated(points).tolist() == expected
    assert (non_dominated_ranks(points) == 0).tolist() == expected


def test_points_with_nan_are_on_no_front_and_minus_infinity_is_a_value() -> None:
    points = np.array([[1.0, np.nan], [0.0, 0.0], [np.nan, 9.0], [-1.0, 1.0]])
    assert non_dominated(points).tolist() == [False, True, False, True]
    assert non_dominated_ranks(points).tolist() == [1, 0, 1, 0]
    assert non_dominated(np.array([[-np.inf, -np.inf]])).tolist() == [True]
    assert not non_dominated(np.zeros((0, 2))).size


@pytest.mark.parametrize(("n", "m", "levels"), CLOUDS)
@pytest.mark.parametrize("constrained", [False, True])
def test_ranks_are_those_of_peeling_fronts_by_hand(n: int, m: int, levels: int, constrained: bool) -> None:
    points = cloud(n, m, levels)
    over = np.zeros(n)
    if constrained:
        over = np.random.default_rng(n).choice([0.0, 0.0, 0.5, 1.5, np.inf], size=n)
    expected, left, rank = np.zeros(n, dtype=int), set(range(n)), 0
    while left:
        best = {j for j in left if not any(beaten(points, over, i, j) for i in left)}
        expected[list(best)] = rank
        left, rank = left - best, rank + 1
    assert non_dominated_ranks(points, over if constrained else None).tolist() == expected.tolist()


def test_feasible_points_come_before_all_others() -> None:
    points, over = cloud(50, 2, 9), np.random.default_rng(1).choice([0.0, 0.2, 3.0], size=50)
    ranks = non_dominated_ranks(points, over)
    assert ranks[over == 0].max() < ranks[over == 0.2].min() <= ranks[over == 0.2].max() < ranks[over == 3.0].min()


def test_crowding_distance_by_hand() -> None:
    points = np.array([[0.0, 10.0], [1.0, 8.0], [4.0, 2.0], [10.0, 0.0]])
    distance = crowding_distance(points)
    assert distance[0] == distance[3] == math.inf
    assert distance[1] == pytest.approx((4 - 0) / 10 + (10 - 2) / 10)
    assert distance[2] == pytest.approx((10 - 1) / 10 + (8 - 0) / 10)
    scaled = crowding_distance(points * [7.0, 0.01] + [3.0, -2.0])
    assert scaled[1:3] == pytest.approx(distance[1:3])
    assert np.isinf(crowding_distance(points[:2])).all()
    assert crowding_distance(np.ones((3, 2)))[1] == 0


def by_inclusion_and_exclusion(points: np.ndarray, reference: np.ndarray) -> float:
    """The volume of a union of boxes: the sum over all subsets of plus or minus the volume of their intersection."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for chosen in itertools.combinations(points, size):
            edges = np.maximum(np.min(chosen, axis=0) - reference, 0)
            total += (-1) ** (size + 1) * float(edges.prod())
    return total


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_the_hypervolume_is_that_of_inclusion_and_exclusion(n: int, m: int) -> None:
    rng = np.random.default_rng([n, m])
    for points in (rng.random((n, m)), rng.integers(4, size=(n, m)) / 4):
        reference = rng.uniform(-0.2, 0.4, size=m)
        assert hypervolume(points, reference) == pytest.approx(by_inclusion_and_exclusion(points, reference), abs=1e-12)


def test_the_hypervolume_of_a_large_front_agrees_with_counting_random_points() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((60, 4)) ** 0.5
    probes = rng.random((40_000, 4))
    share = inside(points[non_dominated(points)], probes).mean()
    error = math.sqrt(share * (1 - share) / len(probes))
    assert hypervolume(points, np.zeros(4)) == pytest.approx(share, abs=4 * error)


def test_the_hypervolume_of_a_line_of_points_is_known() -> None:
    n = 100
    steps = np.arange(1, n + 1) / n
    stairs = np.stack([steps, 1 - steps + 1 / n], axis=1)  # under x + y = 1 + 1/n
    assert hypervolume(stairs, [0, 0]) == pytest.approx((1 + 1 / n) / 2)
    assert hypervolume(stairs, [2, 2]) == 0
    assert hypervolume(np.array([[np.nan, 3.0]]), [0, 0]) == 0
    with pytest.raises(GraphnasError, match="finite reference"):
        hypervolume(stairs, [0, math.nan])


def test_the_hypervolume_grows_with_every_point_of_the_front_and_with_no_other() -> None:
    rng = np.random.default_rng(3)
    points = rng.random((25, 3))
    kept = non_dominated(points)
    whole = hypervolume(points, np.zeros(3))
    for i in range(len(points)):
        rest = hypervolume(np.delete(points, i, axis=0), np.zeros(3))
        assert (rest < whole - 1e-12) == kept[i]


def test_the_improvement_is_the_difference_of_two_hypervolumes() -> None:
    rng = np.random.default_rng(4)
    for n in (0, 1, 6, 30):
        points, candidates = rng.random((n, 2)), rng.uniform(-0.2, 1.3, size=(50, 2))
        reference = np.array([0.1, 0.2])
        expected = [hypervolume(np.vstack([points, c]), reference) - hypervolume(points, reference) for c in candidates]
        assert improvement(points, candidates, reference) == pytest.approx(expected, abs=1e-12)


def test_objectives_and_constraints_read_trials() -> None:
    objectives = parse_objectives("score, -latency")
    assert objectives == (Objective(SCORE), Objective("latency", maximise=False))
    assert list(map(str, objectives)) == ["score", "-latency"]
    some = [trial(0, 3.0, latency=2.0), trial(1, math.nan, "failed")]
    assert np.array_equal(values(some, objectives), [[3, -2], [math.nan, math.nan]], equal_nan=True)
    limits = parse_constraints(["latency<=1.6", "score >= 4"])
    assert violation(some[0], limits) == pytest.approx((2 - 1.6) / 1.6 + (4 - 3) / 4)
    assert violation(some[1], limits) == math.inf
    assert violation(trial(2, 4.0, latency=1.6), limits) == 0
    assert violation(some[0], ()) == 0
    for limit in (1e6, 0.1, 1 / 3, -2.5e-9, 3.730932871):
        assert Constraint.parse(str(Constraint("x", limit))) == Constraint("x", limit)  # nothing is lost in writing
    assert Constraint.parse("loss<=0").violation(trial(3, 0.0, loss=0.5)) == 0.5


@pytest.mark.parametrize(
    "text", ["latency", "latency<5", "latency<=", "<=5", "latency<=five", "a<=1<=2", "latency<=nan"]
)
def test_bad_constraints_are_refused_in_a_line(text: str) -> None:
    with pytest.raises(GraphnasError, match="as in 'latency<=5'"):
        parse_constraints([text])


@pytest.mark.parametrize("text", ["", "-", "a,,b", "a,-a"])
def test_bad_objectives_are_refused_in_a_line(text: str) -> None:
    with pytest.raises(GraphnasError, match=r"objective|one figure twice"):
        parse_objectives(text)


def test_the_score_may_go_by_the_name_of_its_metric() -> None:
    assert named(Objective("validation"), "validation", True) == Objective(SCORE)
    assert named(Objective("loss", maximise=False), "loss", False) == Objective(SCORE)  # the score is the negated loss
    assert named(Objective("params", maximise=False), "loss", False) == Objective("params", maximise=False)
    with pytest.raises(GraphnasError, match="ask for -loss"):
        named(Objective("loss"), "loss", False)
    assert limited(Constraint("loss", 0.5), "loss", False) == Constraint(SCORE, -0.5, upper=False)


def test_the_front_of_trials_leaves_out_failures_duplicates_and_what_breaks_a_constraint() -> None:
    trials = [
        trial(0, 90.0, latency=5.0),
        trial(1, 80.0, latency=2.0),
        trial(2, 85.0, latency=5.0),  # dominated by 0
        trial(3, 80.0, latency=2.0),  # the same point as 1
        trial(4, math.nan, "failed"),
        trial(5, 99.0, latency=9.0),
        trial(6, 70.0),  # no latency was measured
    ]
    both = parse_objectives("score,-latency")
    assert [t.number for t in front(trials, both)] == [5, 0, 1]
    assert [t.number for t in front(trials, both, parse_constraints("latency<=6"))] == [0, 1]
    assert front(trials[4:5], both) == []
