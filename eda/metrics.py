"""How well routability is predicted: ranks of placements, and hotspots among tiles, with intervals over designs.

Violated nets are ranked by Kendall's tau-b, which corrects for ties (many placements have no violation at all). Hotspots are measured by
ROC-AUC over all tiles of all placements pooled, its mean over placements that have both classes, and the area under the precision-recall
curve (average precision). Placements of one design are alike, so bootstrap intervals draw designs, not placements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphnas.errors import GraphnasError
from graphnas.metrics import kendall_tau

Floats = NDArray[np.float64]
_LEAST = 3
"""Placements that a design needs for a tau of its own."""


def nets_metrics(
    predicted: Sequence[float] | Floats, true: Sequence[float] | Floats, designs: Sequence[str]
) -> dict[str, float]:
    """``tau`` over all placements, and ``tau_within``: the mean over designs of tau among a design's own placements.

    Designs with fewer than three placements, or whose placements are all equally violated, have no tau of their own. A
    predictor that says the same of all placements ranks nothing: its tau is 0. NaN where a prediction is not finite.

    Args:
        predicted, true: n numbers, larger means more violations.
        designs: n names.
    """
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    names = np.asarray(designs)
    if not len(x) == len(y) == len(names):
        raise GraphnasError(
            f"{len(x)} predictions, {len(y)} labels and {len(names)} designs; give one of each a placement"
        )
    if not np.isfinite(x).all():
        return {"tau": math.nan, "tau_within": math.nan}
    within = []
    for name in dict.fromkeys(designs):
        rows = names == name
        if rows.sum() >= _LEAST and np.ptp(y[rows]) > 0:
            within.append(_tau(x[rows], y[rows]))
    return {"tau": _tau(x, y), "tau_within": float(np.mean(within)) if within else math.nan}


def _tau(x: Floats, y: Floats) -> float:
    """Kendall's tau-b, 0 for a constant prediction."""
    return 0.0 if len(x) > 1 and np.ptp(x) == 0 and np.ptp(y) > 0 else kendall_tau(x, y)


def hotspot_metrics(predicted: Sequence[Floats], hot: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    """``auc`` over all tiles pooled, ``auc_placement`` (mean over placements with both classes) and ``pr_auc`` (pooled).

    NaN where a prediction is not finite, or where there is but one class.

    Args:
        predicted: for every placement the scores of its tiles, any shape.
        hot: likewise, whether a tile is a hotspot.
    """
    from sklearn.metrics import average_precision_score

    if len(predicted) != len(hot) or any(np.shape(a) != np.shape(b) for a, b in zip(predicted, hot, strict=False)):
        raise GraphnasError("predicted and true hotspot maps differ in number or shape")
    x = np.concatenate([np.zeros(0), *map(np.ravel, predicted)])
    y = np.concatenate([np.zeros(0, dtype=np.bool_), *map(np.ravel, hot)])
    nothing = {"auc": math.nan, "auc_placement": math.nan, "pr_auc": math.nan}
    if not len(x) or not np.isfinite(x).all() or y.all() or not y.any():
        return nothing
    pairs = zip(predicted, hot, strict=True)
    each = [_area(np.ravel(a), np.ravel(b)) for a, b in pairs if np.any(b) and not np.all(b)]
    return {
        "auc": _area(x, y),
        "auc_placement": float(np.mean(each)) if each else math.nan,
        "pr_auc": float(average_precision_score(y, x)),
    }


def _area(scores: Floats, hot: NDArray[np.bool_]) -> float:
    """The area under the ROC curve: the share of (hot, other) pairs in the right order, ties half (Mann & Whitney, 1947)."""
    from scipy.stats import rankdata

    positive = int(hot.sum())
    excess = rankdata(scores)[hot].sum() - positive * (positive + 1) / 2
    return float(excess / (positive * (len(hot) - positive)))


class Interval(NamedTuple):
    """A figure with the 95 % interval of the bootstrap over designs."""

    value: float
    low: float
    high: float


def over_designs(
    measure: Callable[[NDArray[np.intp]], Mapping[str, float]],
    designs: Sequence[str],
    rng: np.random.Generator,
    draws: int = 200,
) -> dict[str, Interval]:
    """Figures on all placements, and their percentile intervals when designs are drawn with replacement.

    Args:
        measure: takes rows (placements, repeated where their design was drawn repeatedly) and gives figures by name.
        designs: the design of every placement.
        rng: draws the designs.
        draws: resamples; those where a figure is NaN (one class only) are left out of its interval.
    """
    names = np.asarray(designs)
    places = [np.flatnonzero(names == name) for name in dict.fromkeys(designs)]
    values = measure(np.arange(len(names)))
    found = [
        measure(np.concatenate([places[i] for i in rng.integers(len(places), size=len(places))])) for _ in range(draws)
    ]
    made = {}
    for name, value in values.items():
        drawn = np.array([each[name] for each in found])
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (math.nan, math.nan)
        made[name] = Interval(value, float(low), float(high))
    return made
