"""Which of many points are best when there are several objectives. Larger is better in every column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphnas.objectives import Constraint, Objective, values, violation
from graphnas.strategies.base import Trial

_PAIRS = 1000
"""Up to so many points all pairs are compared at once."""


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether ``a`` is at least as good as ``b`` in every objective, and better in one."""
    return bool((a >= b).all() and (a > b).any())


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Bool ``[n]``: the points ``[n, m]`` that no other dominates; equal points are all kept, points with NaN never.

    O(n log n) for two objectives, O(n * front) for more.
    """
    points = _checked(points)
    keep = np.zeros(len(points), dtype=np.bool_)
    usable = np.flatnonzero(~np.isnan(points).any(axis=1))
    if not len(usable):
        return keep
    # In lexicographic order from the best, no point is dominated by a later one.
    order = usable[np.lexsort(points[usable].T[::-1])[::-1]]
    if points.shape[1] == 2:
        second = points[order, 1]
        first = points[order, 0]
        before = np.concatenate([[-np.inf], np.maximum.accumulate(second)[:-1]])
        twin = np.concatenate([[False], (first[1:] == first[:-1]) & (second[1:] == second[:-1])])
        kept = (second > before) | (second == -np.inf) & (np.arange(len(order)) == 0)
        for i in np.flatnonzero(twin):
            kept[i] = kept[i - 1]
        keep[order] = kept
        return keep
    if len(order) <= _PAIRS:
        found = points[order]
        at_least = (found[:, None] >= found[None]).all(axis=2)
        keep[order] = ~(at_least & ~at_least.T).any(axis=0)
        return keep
    front: list[np.ndarray] = []
    for i in order:
        point = points[i]
        better = np.array(front) if front else np.zeros((0, len(point)))
        beaten = ((better >= point).all(axis=1) & (better > point).any(axis=1)).any()
        if not beaten:
            front.append(point)
            keep[i] = True
    return keep


def non_dominated_ranks(points: np.ndarray, violations: np.ndarray | None = None) -> np.ndarray:
    """The front ``[n]`` to which each point belongs: 0 for what nothing dominates, 1 for what only front 0 dominates, ...

    The fast non-dominated sort of Deb, Pratap, Agarwal & Meyarivan (IEEE Trans. Evolutionary Computation, 2002, section III.A)
    with their constrained domination (section VI): a point that keeps all constraints dominates one that does not, and of
    two that do not, the one of smaller violation dominates. Points with NaN come last.

    Args:
        points: ``[n, m]``.
        violations: ``[n]``, 0 where all constraints are kept; None for no constraints.
    """
    points = _checked(points)
    n = len(points)
    if not n:
        return np.zeros(0, dtype=np.int64)
    over = np.zeros(n) if violations is None else np.asarray(violations, dtype=np.float64)
    missing = np.isnan(points).any(axis=1)
    filled = np.where(missing[:, None], -np.inf, points)
    kept = over == 0
    at_least = (filled[:, None] >= filled[None]).all(axis=2)
    beats = at_least & (filled[:, None] > filled[None]).any(axis=2) & kept[:, None] & kept[None]
    beats |= over[:, None] < over[None]  # also the feasible over the infeasible: their violation is 0
    beats &= ~missing[:, None]
    beats |= ~missing[:, None] & missing[None]
    ranks = np.full(n, -1, dtype=np.int64)
    count = beats.sum(axis=0)
    rank = 0
    front = np.flatnonzero(count == 0)
    while len(front):
        ranks[front] = rank
        count = count - beats[front].sum(axis=0)
        count[ranks >= 0] = n + 1
        front = np.flatnonzero(count == 0)
        rank += 1
    return ranks


def crowding_distance(points: np.ndarray) -> np.ndarray:
    """How far the neighbours of each point ``[n, m]`` lie along the front: infinite at its ends (Deb et al., 2002, section III.B).

    The sum over the objectives of the difference between the next larger and the next smaller value, as a share of the
    objective's range.
    """
    points = _checked(points)
    n, m = points.shape
    distance = np.zeros(n)
    for j in range(m):
        order = np.argsort(points[:, j], kind="stable")
        sorted_values = points[order, j]
        span = sorted_values[-1] - sorted_values[0] if n else 0.0
        if n:
            distance[order[[0, -1]]] = np.inf
        if n > 2 and span > 0:
            distance[order[1:-1]] += (sorted_values[2:] - sorted_values[:-2]) / span
    return distance


def front(
    trials: Sequence[Trial], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> list[Trial]:
    """The trials on the Pareto front, by falling first objective; one for each distinct point, the earliest.

    Args:
        trials: failed ones, and those that lack a figure, are left out.
        objectives: at least one.
        constraints: trials that break one are left out.
    """
    usable = [t for t in trials if t.status == "complete" and violation(t, constraints) == 0]
    points = values(usable, objectives)
    kept = np.flatnonzero(non_dominated(points)) if usable else np.zeros(0, dtype=np.int64)
    found: dict[tuple[float, ...], Trial] = {}
    for i in kept.tolist():
        found.setdefault(tuple(points[i].tolist()), usable[i])
    return [found[point] for point in sorted(found, reverse=True)]


def _checked(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2:
        raise ValueError(f"points must have the shape [n, objectives], not {list(points.shape)}")
    return points
