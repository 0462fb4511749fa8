"""Predicted scores of every architecture of a space, beside what each costs: the best within any limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.predictor import Predictor

Cost = Callable[[Architecture], float]
"""What an architecture costs: milliseconds of a LatencyTable, multiply-adds, parameters."""


class PredictionTable:
    """A look-up table of predictions; asking for another limit costs no prediction (Chen et al., AAAI 2021).

    Args:
        architectures: all that can be chosen.
        predicted: their scores ``[n]``, larger is better.
        costs: of each ``[n]``; None: there are no limits.

    Raises:
        GraphnasError: lengths that differ, or nothing to choose from.
    """

    def __init__(
        self, architectures: Sequence[Architecture], predicted: np.ndarray, costs: np.ndarray | None = None
    ) -> None:
        self.architectures = list(architectures)
        self.predicted = np.asarray(predicted, dtype=np.float64)
        self.costs = np.zeros(len(self.predicted)) if costs is None else np.asarray(costs, dtype=np.float64)
        if not self.architectures or not len(self.architectures) == len(self.predicted) == len(self.costs):
            raise GraphnasError(
                f"a table of predictions needs one score and one cost for each architecture, not {len(self.predicted)} "
                f"and {len(self.costs)} for {len(self.architectures)}"
            )
        self._order = np.argsort(-self.predicted, kind="stable")

    @classmethod
    def of(
        cls, predictor: Predictor, architectures: Iterable[Architecture], cost: Cost | None = None
    ) -> PredictionTable:
        """The table of a fitted predictor."""
        members = list(architectures)
        costs = None if cost is None else np.array([cost(a) for a in members])
        return cls(members, predictor.predict(members).mean, costs)

    def top(self, count: int, limit: float = math.inf) -> list[Architecture]:
        """The best architectures that cost at most ``limit``, best first; of equal ones the earlier. Fewer if there are fewer."""
        fitting = self._order[self.costs[self._order] <= limit]
        return [self.architectures[i] for i in fitting[:count].tolist()]

    def best(self, limit: float = math.inf) -> Architecture:
        """The best architecture that costs at most ``limit``.

        Raises:
            GraphnasError: every architecture costs more.
        """
        found = self.top(1, limit)
        if not found:
            raise GraphnasError(
                f"no architecture of the table costs at most {limit:g}; the cheapest costs {self.costs.min():g}"
            )
        return found[0]
