"""What the comparator strategies do with pairwise probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphnas.architecture import Architecture
from graphnas.predictor import Comparator


def matrix(comparator: Comparator, a: Sequence[Architecture], b: Sequence[Architecture]) -> np.ndarray:
    """Probabilities ``[n, m]`` that ``a[i]`` is better than ``b[j]``."""
    left = [x for x in a for _ in b]
    return comparator.probability(left, [*b] * len(a)).reshape(len(a), len(b))


def win_rates(comparator: Comparator, a: Sequence[Architecture], references: Sequence[Architecture]) -> np.ndarray:
    """The mean probability ``[n]`` that ``a[i]`` is better than a reference."""
    return np.asarray(matrix(comparator, a, references).mean(1))


def strongest(comparator: Comparator, architectures: Sequence[Architecture]) -> int:
    """The place of the greatest mean probability of beating the others; of equal ones the first.

    ``argmax_i mean_j P_ij`` with ``P_ii = 0`` (Chen et al., CVPR 2021, section 3.4).
    """
    p = matrix(comparator, architectures, architectures)
    np.fill_diagonal(p, 0.0)
    return int(np.argmax(p.mean(1)))


def confident_pairs(probability: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` pairs of which a comparator is surest, and the labels that it gives them.

    Sure means ``|p - 1/2|``: both labels occur. (The greatest p, as the released code of CTNAS has it, would give the label
    1 only, and teach that the first of a pair is better.)

    Args:
        probability: of n pairs ``[n]``.
        k: how many, at most.

    Returns:
        places ``[k]`` and labels ``[k]`` (1 where p >= 1/2, else 0; float64).
    """
    places = np.argsort(-np.abs(probability - 0.5), kind="stable")[:k]
    return places, (probability[places] >= 0.5).astype(np.float64)
