"""Which architectures to label first: those that tell most about all others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphnas.architecture import Architecture
from graphnas.encoding.forms import classes_of
from graphnas.errors import GraphnasError
from graphnas.space import Space
from predictors.descriptors import Descriptors
from predictors.gaussian_process import prior_kernel
from predictors.kernel import in_order

_NOISE = 0.2


def design(
    space: Space, count: int, rng: np.random.Generator, candidates: Sequence[Architecture] = (), pool: int = 1000
) -> list[Architecture]:
    """Architectures to label, one after the other that which lowers the variance of the whole pool most.

    The variance is that of the process of ``KernelPredictor`` as it is before any label, so no score is needed, and the first
    k of a larger design are the design of k. Label by label it minimises ``sum_x var(f(x) | labels)`` (active learning of
    Cohn, Neural Networks 1996, for Gaussian processes: Seo et al., IJCNN 2000): a labelled x_i takes
    ``cov(x, x_i)^2 / (var(x_i) + noise)`` off the variance of every x. Random labels leave this to chance, and those of largest
    variance themselves are the odd ones at the rim.

    Time is O(count pool^2), memory O(pool^2).

    Args:
        space: the architectures are members of it.
        count: how many.
        rng: draws the pool.
        candidates: the pool, where not all members can be labelled; isomorphic ones count once, the first of them.
        pool: how many random architectures are the pool otherwise (at least twice ``count`` are drawn).

    Raises:
        GraphnasError: ``count`` is not positive, or more than there are distinct candidates.
    """
    if count < 1 or pool < 1:
        raise GraphnasError(f"a design of {count} labels from a pool of {pool} architectures; give positive numbers")
    if not candidates:
        candidates = [space.sample(rng) for _ in range(max(pool, 2 * count))]
    forms, member = classes_of(space, candidates)
    if count > len(forms):
        raise GraphnasError(
            f"there are {len(forms)} distinct architectures to choose from, but {count} shall be labelled; give more candidates"
        )
    descriptors = Descriptors(space)
    groups = in_order(descriptors.fit(forms))
    covariance = prior_kernel(groups, descriptors.centres)
    weights = np.bincount(member).astype(np.float64)  # how much of the pool a form stands for
    chosen: list[int] = []
    free = np.ones(len(forms), dtype=bool)
    for _ in range(count):
        gain = weights @ np.square(covariance) / (covariance.diagonal() + _NOISE)
        best = int(np.argmax(np.where(free, gain, -1.0)))
        chosen.append(best)
        free[best] = False
        column = covariance[:, best]
        covariance = covariance - np.outer(column, column) / (column[best] + _NOISE)
    first = dict(zip(reversed(member), reversed(candidates), strict=True))
    return [first[i] for i in chosen]
