"""Which architectures can be evaluated at all, learned from trials that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.space import Space

_DOUBT = 0.1


class Feasibility:
    """The probability that a trial does not fail, from how often each option of each decision was in trials that did and that did not.

    A naive Bayes classifier (Maron, 1961) with Laplace's rule: where every fifth architecture runs out of memory, or a table lacks most of
    the space, the options that go with failure are soon known. As long as at most one trial in ten fails, nothing is doubted.

    Args:
        space: whose decisions are counted.

    Attributes:
        counts: ``[2, choices, widest radix]``, trials that failed and that did not, by option.
        trials: ``[2]``, how many.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._places = np.arange(len(space.radices))
        self.counts = np.zeros((2, len(space.radices), max(space.radices, default=1)))
        self.trials = np.zeros(2)

    def tell(self, architecture: Architecture, succeeded: bool) -> None:
        """Count a trial."""
        made = np.array(self.space.encode(architecture), dtype=np.int64)
        self.counts[int(succeeded), self._places, made] += 1
        self.trials[int(succeeded)] += 1

    @property
    def doubtful(self) -> bool:
        """Whether more than one trial in ten has failed."""
        return bool(self.trials[0] > _DOUBT * self.trials.sum())

    def probability(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Of success, ``[n]``."""
        made = np.array([self.space.encode(a) for a in architectures], dtype=np.int64).reshape(-1, len(self._places))
        radices = np.array(self.space.radices, dtype=np.float64)[:, None]
        log = np.log(self.counts + 1) - np.log(self.trials[:, None, None] + radices)
        each = log[1] - log[0]
        odds = np.log(self.trials[1] + 1) - np.log(self.trials[0] + 1) + each[self._places, made].sum(axis=1)
        return np.asarray(1 / (1 + np.exp(-odds)))

    def hopeful(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Bool ``[n]``: those with at least half the probability of the best of them; all while nothing is doubted."""
        if not self.doubtful or not len(architectures):
            return np.ones(len(architectures), dtype=np.bool_)
        p = self.probability(architectures)
        return np.asarray(p >= p.max() / 2)

    def state(self) -> dict[str, Any]:
        """All counts, as JSON values."""
        return {"counts": self.counts.tolist(), "trials": self.trials.tolist()}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        self.counts[...] = state["counts"]
        self.trials[...] = state["trials"]
