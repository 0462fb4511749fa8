"""The hypervolume: how much of the space of objectives a set of points dominates, measured from a reference point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphnas.errors import GraphnasError
from graphnas.pareto import non_dominated


def hypervolume(points: np.ndarray, reference: Sequence[float] | np.ndarray) -> float:
    """The exact volume that is dominated by ``points`` and dominates ``reference``; larger is better in every column.

    Two objectives: a sweep, O(n log n). More: WFG (While, Bradstreet & Barone, IEEE Trans. Evolutionary Computation, 2012), which
    adds the exclusive volume of each point, a hypervolume of the later points cut down to it; exact in any dimension, and fast
    for some hundred points of up to about six objectives.

    Args:
        points: ``[n, m]``; those with NaN, and those that are not better than the reference in every objective, add nothing.
        reference: ``[m]``, worse than what counts.

    Raises:
        GraphnasError: shapes that do not fit, or a reference that is not finite.
    """
    points = np.asarray(points, dtype=np.float64)
    corner = np.asarray(reference, dtype=np.float64)
    if points.ndim != 2 or corner.shape != (points.shape[1],) or not np.isfinite(corner).all():
        raise GraphnasError(
            f"a hypervolume needs points [n, m] and a finite reference [m], not {list(points.shape)} and {corner.tolist()}"
        )
    above = points - corner
    above = above[(above > 0).all(axis=1)]  # NaN is not greater than 0
    if not len(above):
        return 0.0
    above = np.unique(above[non_dominated(above)], axis=0)
    return _sweep(above) if above.shape[1] == 2 else _wfg(above)


def inside(points: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Bool ``[k]``: whether each of ``references`` ``[k, m]`` is dominated by one of ``points`` ``[n, m]`` (weakly)."""
    return np.asarray((np.asarray(points)[:, None] >= np.asarray(references)[None]).all(axis=2).any(axis=0))


def improvement(points: np.ndarray, candidates: np.ndarray, reference: Sequence[float] | np.ndarray) -> np.ndarray:
    """By how much each of ``candidates`` ``[k, 2]`` alone would raise the hypervolume of ``points`` ``[n, 2]``, ``[k]``.

    Two objectives only: the strips of the staircase that a candidate reaches, all candidates at once.
    """
    corner = np.asarray(reference, dtype=np.float64)
    found = np.asarray(points, dtype=np.float64).reshape(-1, 2) - corner
    found = found[(found > 0).all(axis=1)]
    front = np.unique(found[non_dominated(found)], axis=0) if len(found) else found  # by rising first, falling second
    new = np.maximum(np.nan_to_num(np.asarray(candidates, dtype=np.float64) - corner, nan=0.0), 0.0)
    left = np.concatenate([[0.0], front[:, 0]])  # strips of the first objective, and how high each is filled
    right = np.concatenate([front[:, 0], [np.inf]])
    height = np.concatenate([front[:, 1], [0.0]])
    width = np.clip(np.minimum(new[:, :1], right) - left, 0.0, None)
    return np.asarray((width * np.clip(new[:, 1:] - height, 0.0, None)).sum(axis=1))


def _sweep(points: np.ndarray) -> float:
    """Two objectives, distinct points of one front, measured from the origin."""
    points = points[np.argsort(-points[:, 0])]
    below = np.concatenate([[0.0], points[:-1, 1]])
    return float((points[:, 0] * (points[:, 1] - below)).sum())


def _wfg(points: np.ndarray) -> float:
    """Distinct points of one front, measured from the origin."""
    if points.shape[1] == 1:
        return float(points.max())
    if len(points) == 1:
        return float(points[0].prod())
    if points.shape[1] == 2:
        return _sweep(points)
    points = points[np.argsort(-points[:, -1])]  # the limited sets are then small
    total = 0.0
    for i, point in enumerate(points):
        cut = np.minimum(points[i + 1 :], point)
        total += float(point.prod())
        if len(cut):
            cut = np.unique(cut, axis=0)
            total -= _wfg(cut[non_dominated(cut)])
    return total
