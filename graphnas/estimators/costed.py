"""Costs of networks beside their scores, as metrics that a search can trade off or limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from graphnas.architecture import Architecture
from graphnas.cost import LatencyTable, cost
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.base import Estimator, Evaluation


class Costed(Estimator):
    """Another estimator, with further metrics that are worked out from the architecture.

    Args:
        inner: gives the score.
        costs: functions of an architecture by the name of their metric; ``Terms.of`` is one.
        limits: largest values of some of them. What costs more is not evaluated at all: its score is NaN, so that the
            trial has failed, and it took no time. (A constraint of a search, in contrast, is looked at afterwards.)

    Raises:
        GraphnasError: no costs, one under the name of the score, or a limit of something else.
    """

    def __init__(
        self,
        inner: Estimator,
        costs: Mapping[str, Callable[[Architecture], float]],
        limits: Mapping[str, float] | None = None,
    ) -> None:
        if not costs or inner.metric in costs:
            raise GraphnasError(f"give costs under names other than the score's, {inner.metric!r}, and at least one")
        self.inner = inner
        self.costs = dict(costs)
        self.limits = dict(limits or {})
        for limited in self.limits:
            if limited not in self.costs:
                raise unknown("cost with a limit:", limited, tuple(self.costs))
        self.name = inner.name
        self.space = inner.space
        self.metric = inner.metric
        self.maximise = inner.maximise
        self.batch = inner.batch
        self.cheap = inner.cheap

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        """The inner evaluation with all costs among its metrics."""
        costs = {name: float(worth(architecture)) for name, worth in self.costs.items()}
        if any(costs[name] > limit for name, limit in self.limits.items()):
            return Evaluation(math.nan, costs, 0.0)
        found = self.inner.evaluate(architecture, seed=seed)
        return Evaluation(found.score, {**found.metrics, **costs}, found.cost)

    def test(self, architecture: Architecture, *, seed: int = 0) -> dict[str, float]:
        """The inner estimator's test metrics."""
        return self.inner.test(architecture, seed=seed)

    def describe(self) -> dict[str, Any]:
        """The inner settings, and the names of the costs."""
        return {
            **self.inner.describe(),
            "costs": sorted(self.costs),
            **({"limits": self.limits} if self.limits else {}),
        }


class NetworkCosts:
    """A cost of the network of an architecture: "macs", or "latency" by a table.

    Args:
        space: builds the network.
        signature: of the Task.
        size: of the network.
        table: milliseconds of its nodes; None for multiply-adds.
    """

    def __init__(
        self, space: Any, signature: Any, size: Mapping[str, float] | None = None, table: LatencyTable | None = None
    ) -> None:
        self.space = space
        self.signature = signature
        self.size = dict(size or {})
        self.table = table

    def __call__(self, architecture: Architecture) -> float:
        """Multiply-adds of one example, or milliseconds."""
        network = self.space.network(architecture, self.signature, **self.size)
        return float(cost(network).macs) if self.table is None else self.table.latency(network)
