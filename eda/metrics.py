"""How well routability is predicted: ranks of placements, and hotspots among tiles, with intervals over designs.

Violated nets are ranked by Kendall's tau-b, which corrects for ties (many placements have no violation at all). Hotspots are measured by
ROC-AUC over all tiles of all placements pooled, its mean over placements that have both classes, and the area under the precision-recall
curve (average precision). Placements of one design are alike, so bootstrap intervals draw designs, not placements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    from sklearn.metrics import average_precision_score, roc_auc_score

    if len(predicted) != len(hot) or any(np.shape(a) != np.shape(b) for a, b in zip(predicted, hot, strict=False)):
        raise GraphnasError("predicted and true hotspot maps differ in number or shape")
    x, y = (
        np.concatenate([np.ravel(part) for part in parts]) if len(parts) else np.zeros(0) for parts in (predicted, hot)
    )
    nothing = {"auc": math.nan, "auc_placement": math.nan, "pr_auc": math.nan}
    if not len(x) or not np.isfinite(x).all() or y.all() or not y.any():
        return nothing
    each = [
        float(roc_auc_score(np.ravel(b), np.ravel(a)))
        for a, b in zip(predicted, hot, strict=True)
        if np.any(b) and not np.all(b)
    ]
    return {
        "auc": float(roc_auc_score(y, x)),
        "auc_placement": float(np.mean(each)) if each else math.nan,
        "pr_auc": float(average_precision_score(y, x)),
    }


class Interval(NamedTuple):
    """A figure with the 95 % interval of the bootstrap over designs."""

    value: float
    low: float
    high: float


def over_designs(
    measure: Callable[[NDArray[np.intp]], float], designs: Sequence[str], rng: np.random.Generator, draws: int = 200
) -> Interval:
    """A figure on all placements, and the percentile interval when designs are drawn with replacement.

    Args:
        measure: takes rows (placements, repeated where their design was drawn repeatedly).
        designs: the design of every placement.
        rng: draws the designs.
        draws: resamples; those whose figure is NaN (one class only) are left out.
    """
    names = np.asarray(designs)
    places = [np.flatnonzero(names == name) for name in dict.fromkeys(designs)]
    value = measure(np.arange(len(names)))
    found = [
        measure(np.concatenate([places[i] for i in rng.integers(len(places), size=len(places))])) for _ in range(draws)
    ]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Interval(value, float(low), float(high))
