"""Weights of a mixture, learned from what its members say about labels that they have not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PRIOR_LABELS = 15.0


def folds_of(member: Sequence[int] | np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The fold ``[n]`` of every label, 0 to ``count - 1``, nearly equally many classes each.

    ``member [n]`` says to which class of equal architectures a label belongs; a class is in one fold, so that no
    member of a mixture is tested on an architecture that it has been fitted to.
    """
    classes, place = np.unique(member, return_inverse=True)
    return np.asarray((rng.permutation(len(classes)) % count)[place])


def stacked_weights(
    unseen: np.ndarray, targets: np.ndarray, prior: np.ndarray, labels: float = PRIOR_LABELS
) -> np.ndarray:
    """The weights ``[M]`` of M members, at least 0 and with sum 1.

    Least squares, with a free constant, from the members' predictions ``unseen [M, n]`` of targets ``[n]`` that they were not fitted to
    (stacking: Wolpert, Neural Networks 1992; with weights of at least 0, Breiman, Machine Learning 1996). A ridge pulls
    the weights to those of ``prior [M]`` (their sum is free: it is chosen to fit best) as strongly as so many ``labels``,
    each with members of unit variance, would.
    """
    from scipy.optimize import nnls

    # Labelled architectures need not be typical of the space, so their normal scores need not have mean 0.
    unseen = unseen - unseen.mean(axis=1, keepdims=True)
    targets = targets - targets.mean()
    blend = prior @ unseen
    square = float(blend @ blend)
    size = float(blend @ targets) / square if square > 0 else 0.0
    if size <= 0:  # the members know less than nothing, so there is nothing to learn from
        return np.asarray(prior / prior.sum())
    pull = np.sqrt(labels)
    left = np.concatenate([unseen.T, pull * np.eye(len(prior))])
    weights, _ = nnls(left, np.concatenate([targets, pull * size * prior]))
    return np.asarray(weights / weights.sum())
