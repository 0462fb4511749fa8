"""What the strategies share that fit a Comparator to their trials and ask for what wins comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from graphnas.architecture import Architecture
from graphnas.predictor import Comparator
from graphnas.space import Space
from graphnas.strategies.learned import LearnedStrategy, make_learner


@runtime_checkable
class LearnsPairs(Protocol):
    """A comparator that can go on learning from labelled pairs."""

    def learn_pairs(
        self, a: Sequence[Architecture], b: Sequence[Architecture], labels: np.ndarray, steps: int
    ) -> object:
        """Go on training: ``labels[i]`` is 1 where ``a[i]`` is taken to be better than ``b[i]``."""


@runtime_checkable
class ComparesAll(Protocol):
    """A comparator that is faster for all pairs of two sets than pair by pair."""

    def matrix(self, a: Sequence[Architecture], b: Sequence[Architecture]) -> np.ndarray:
        """Probabilities ``[n, m]`` that ``a[i]`` is better than ``b[j]``."""


class ComparingStrategy(LearnedStrategy[Comparator]):
    """A learned strategy whose learner is a Comparator.

    Args:
        space: what to search.
        rng: the source of all random draws.
        comparator: a registered name, or a callable ``(space, **comparator_options) -> Comparator``. It must be
            deterministic, or a loaded state goes on differently.
        comparator_options: arguments of the comparator.
        initial: scored random architectures before the first fit.
        every: labels between fits, at least.
        growth: factor between the numbers of labels of successive fits, at least.
        keep: how many of the best labelled architectures others are compared with.

    Raises:
        GraphnasError: unknown comparator, or an argument out of range.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        comparator: str | Callable[..., Comparator],
        comparator_options: Mapping[str, Any] | None,
        *,
        initial: int,
        every: int,
        growth: float,
        keep: int,
    ) -> None:
        learner = make_learner(Comparator, comparator, space, comparator_options)  # type: ignore[type-abstract]
        super().__init__(space, rng, learner, initial=initial, every=every, growth=growth, keep=keep)

    @property
    def references(self) -> list[Architecture]:
        """What candidates are compared with: the best labelled architectures."""
        return self.labels.best

    def strengths(self, architectures: Sequence[Architecture]) -> list[float]:
        """The mean probability of each to beat the references."""
        rates: list[float] = win_rates(self.learner, architectures, self.references).tolist()
        return rates


def matrix(comparator: Comparator, a: Sequence[Architecture], b: Sequence[Architecture]) -> np.ndarray:
    """Probabilities ``[n, m]`` that ``a[i]`` is better than ``b[j]``."""
    if isinstance(comparator, ComparesAll):
        return comparator.matrix(a, b)
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
    1 only, and teach that the first of a pair is better.) Pairs with p = 1/2, such as an architecture and itself, have no
    label and are left out.

    Args:
        probability: of n pairs ``[n]``.
        k: how many, at most.

    Returns:
        places ``[k]`` and labels ``[k]`` (1 where p > 1/2, else 0; float64).
    """
    places = np.argsort(-np.abs(probability - 0.5), kind="stable")[:k]
    places = places[probability[places] != 0.5]
    return places, (probability[places] > 0.5).astype(np.float64)
