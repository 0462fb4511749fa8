"""Performance estimation: what an architecture is worth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from graphnas.architecture import Architecture
from graphnas.space import Space


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one evaluation returned.

    Attributes:
        score: larger is better; the selection metric on validation data (negated when it is minimised).
        metrics: further figures by name, as measured.
        cost: what the evaluation counts against ``Budget.cost`` (1 by default; units are the estimator's).
    """

    score: float
    metrics: dict[str, float] = field(default_factory=dict)
    cost: float = 1.0


class Estimator(ABC):
    """Scores architectures of one Space.

    Attributes:
        name: for settings and reports.
        space: whose architectures it accepts.
        metric: name of what ``score`` measures ("validation accuracy").
        maximise: False when the score is the negated metric.
        batch: how many architectures a Search asks for at a time (fixed, so that the trials of a search do
            not depend on the number of workers).
        cheap: evaluation takes microseconds, so worker processes would only cost.
    """

    name: str
    space: Space
    metric: str = "score"
    maximise: bool = True
    batch: int = 1
    cheap: bool = False

    @abstractmethod
    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        """Score one architecture.

        Must not change the estimator, and must depend on nothing but its arguments: the same call gives the same result
        in any process. An exception or NaN marks the trial as failed.
        """

    def test(self, architecture: Architecture, *, seed: int = 0) -> dict[str, float]:
        """Test metrics, read once for the final report; empty when there is no test set.

        Args:
            architecture: what the search selected.
            seed: the seed of the trial that selected it.
        """
        return {}

    def describe(self) -> dict[str, Any]:
        """Settings that reproduce the estimates, as JSON values."""
        return {"name": self.name, "space": self.space.name}
