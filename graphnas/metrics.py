"""How well predicted scores rank architectures, and ranks as normal scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphnas.errors import GraphnasError

Values = Sequence[float] | np.ndarray


def kendall_tau(predicted: Values, true: Values) -> float:
    """Kendall's tau-b in [-1, 1]: concordant less discordant pairs, with ties in either corrected for (Kendall, 1945).

    NaN when either is constant.

    Raises:
        GraphnasError: different lengths, fewer than two values, NaN or infinity.
    """
    from scipy.stats import kendalltau

    x, y = _pair(predicted, true)
    return math.nan if _constant(x, y) else float(kendalltau(x, y).statistic)


def spearman(predicted: Values, true: Values) -> float:
    """Spearman's rank correlation in [-1, 1]; tied values share their mean rank. NaN when either is constant.

    Raises:
        GraphnasError: different lengths, fewer than two values, NaN or infinity.
    """
    from scipy.stats import rankdata

    x, y = _pair(predicted, true)
    return pearson(rankdata(x), rankdata(y))


def pearson(predicted: Values, true: Values) -> float:
    """Pearson's linear correlation in [-1, 1]. NaN when either is constant.

    Raises:
        GraphnasError: different lengths, fewer than two values, NaN or infinity.
    """
    x, y = _pair(predicted, true)
    if _constant(x, y):
        return math.nan
    # Scaled first, so that the squares of tiny or huge values stay finite.
    x, y = (v / np.abs(v).max() for v in (x - x.mean(), y - y.mean()))
    return float(np.clip(x @ y / math.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def precision_at_k(predicted: Values, true: Values, k: int) -> float:
    """Share of the true top k that is among the predicted top k, in [0, 1]; of equal values the earlier come first.

    Raises:
        GraphnasError: k not between 1 and the number of values, different lengths, NaN or infinity.
    """
    x, y = _pair(predicted, true)
    return len(np.intersect1d(_top(x, k), _top(y, k))) / k


def regret_at_k(predicted: Values, true: Values, k: int, normalised: bool = False) -> float:
    """What is lost by evaluating only the predicted top k: the best true score less the best true score among them.

    Args:
        predicted: predicted scores ``[n]``.
        true: true scores ``[n]``, larger is better; the regret has their unit.
        k: how many are evaluated; of equal predictions the earlier come first.
        normalised: divide by the range of the true scores, so that the regret is in [0, 1] (0 if they are constant).

    Raises:
        GraphnasError: k not between 1 and the number of values, different lengths, NaN or infinity.
    """
    x, y = _pair(predicted, true)
    regret = float(y.max() - y[_top(x, k)].max())
    return regret / float(np.ptp(y)) if normalised and regret else regret


class Interval(NamedTuple):
    """A figure with the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float


def bootstrap(
    metric: Callable[..., float],
    predicted: Values,
    true: Values,
    rng: np.random.Generator,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    **options: Any,
) -> Interval:
    """A metric with its percentile bootstrap interval over the architectures (Efron, 1979).

    Args:
        metric: one of this module's functions, or any ``metric(predicted, true, **options)``.
        predicted: predicted scores ``[n]``.
        true: true scores ``[n]``.
        rng: draws the resamples.
        resamples: how many; those on which the metric is NaN are left out.
        level: probability that the interval is to hold.
        **options: passed on to the metric (``k``).

    Raises:
        GraphnasError: what the metric raises; resamples below 1, or a level outside (0, 1).
    """
    if resamples < 1 or not 0 < level < 1:
        raise GraphnasError(f"a bootstrap needs resamples >= 1 and 0 < level < 1, not {resamples} and {level}")
    x, y = _pair(predicted, true)
    value = metric(x, y, **options)
    drawn = np.empty(resamples)
    for i in range(resamples):
        rows = rng.integers(len(x), size=len(x))
        drawn[i] = metric(x[rows], y[rows], **options)
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def _pair(predicted: Values, true: Values) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise GraphnasError(f"predicted and true scores need one shape [n], not {list(x.shape)} and {list(y.shape)}")
    if len(x) < 2:
        raise GraphnasError(f"a ranking needs at least two architectures, not {len(x)}")
    for name, values in (("predicted", x), ("true", y)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise GraphnasError(f"{name} score {bad[0]} is {values[bad[0]]}; leave failed architectures out")
    return x, y


def _constant(x: np.ndarray, y: np.ndarray) -> bool:
    return bool(np.all(x == x[0]) or np.all(y == y[0]))


def _top(values: np.ndarray, k: int) -> np.ndarray:
    if not 1 <= k <= len(values):
        raise GraphnasError(f"k is {k}; it must be between 1 and the number of architectures, {len(values)}")
    return np.argsort(-values, kind="stable")[:k]


def normal_scores(values: np.ndarray) -> np.ndarray:
    """The normal quantiles ``[n]`` of the ranks, ``Phi^-1((rank - 1/2) / n)``; equal values share their mean rank."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    return np.asarray(ndtri((rankdata(values) - 0.5) / len(values)))
