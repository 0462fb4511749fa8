"""Acquisition functions: how much a prediction makes an architecture worth evaluating."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphnas.predictor import Prediction

Acquisition = Callable[[Prediction, float, np.random.Generator], np.ndarray]
"""``(prediction [n], best score so far, rng) -> values [n]``, larger is better."""


def mean(prediction: Prediction, best: float, rng: np.random.Generator) -> np.ndarray:
    """The predicted score: pure exploitation."""
    return prediction.mean


def ucb(prediction: Prediction, best: float, rng: np.random.Generator, weight: float = 1.0) -> np.ndarray:
    """Upper confidence bound ``mean + weight * std`` (Auer, 2002; Srinivas et al., 2010)."""
    return np.asarray(prediction.mean + weight * prediction.std)


def thompson(prediction: Prediction, best: float, rng: np.random.Generator) -> np.ndarray:
    """An independent normal draw for each architecture (independent Thompson sampling, White et al., AAAI 2021)."""
    return np.asarray(prediction.mean + prediction.std * rng.standard_normal(len(prediction.mean)))


def expected_improvement(prediction: Prediction, best: float, rng: np.random.Generator) -> np.ndarray:
    """``E[max(score - best, 0)]`` under a normal prediction (Mockus, 1975): ``d * Phi(d / s) + s * phi(d / s)``.

    Where the standard deviation s is zero it is ``max(d, 0)``, with ``d = mean - best``.
    """
    from scipy.special import ndtr

    difference, std = prediction.mean - best, prediction.std
    safe = np.where(std > 0, std, 1.0)
    z = difference / safe
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    # Far below the best the two terms cancel up to rounding, which may leave less than nothing.
    return np.asarray(np.maximum(np.where(std > 0, difference * ndtr(z) + std * density, difference), 0.0))


ACQUISITIONS: dict[str, Acquisition] = {
    "mean": mean,
    "ucb": ucb,
    "thompson": thompson,
    "expected_improvement": expected_improvement,
}


def half_top(order: np.ndarray, n: int, top: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` places of an order, half from its front and half uniform among the rest of its first ``top``.

    So BRP-NAS (Dudziak et al., NeurIPS 2020) does with share 1/2; WeakNAS (Wu et al., NeurIPS 2021) draws all of them
    from the top. The odd one of an odd ``n`` falls to either half by a coin.

    Args:
        order: indices, best first.
        n: how many, at most ``len(order)``.
        top: width of the front; at least ``n`` are taken to belong to it.
        rng: draws the second half.
    """
    n = min(n, len(order))
    greedy = n // 2 + (n % 2 and int(rng.random() < 0.5))
    rest = order[greedy : max(top, n)]
    drawn = rng.choice(rest, size=n - greedy, replace=False) if n > greedy else rest[:0]
    return np.concatenate([order[:greedy], drawn])
