"""When a search stops, and what it found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from graphnas.errors import GraphnasError
from graphnas.objectives import Constraint, Objective, parse_objectives
from graphnas.strategies.base import Trial


@dataclass(frozen=True)
class Budget:
    """When to stop; at least one limit. Duplicates are free: only evaluated architectures are trials.

    Attributes:
        trials: number of evaluated architectures, failed ones included.
        seconds: wall time, summed over interruptions.
        cost: sum of the trials' costs, in the estimator's unit.
    """

    trials: int | None = None
    seconds: float | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        limits = [v for v in (self.trials, self.seconds, self.cost) if v is not None]
        if not limits or any(not v > 0 for v in limits):
            raise GraphnasError("a budget needs at least one of trials, seconds and cost, each greater than 0")

    def reached(self, trials: int, seconds: float, cost: float) -> str:
        """Why to stop now, or an empty text."""
        if self.trials is not None and trials >= self.trials:
            return f"budget of {self.trials} trials used"
        if self.seconds is not None and seconds >= self.seconds:
            return f"budget of {self.seconds:g} seconds used"
        if self.cost is not None and cost >= self.cost:
            return f"budget of cost {self.cost:g} used"
        return ""


@dataclass
class Result:
    """What a search found.

    Attributes:
        trials: all evaluated architectures in the order in which they were asked for.
        best: the trial with the greatest score of those that keep all constraints; None when there is none.
        stopped: why the search ended.
        duplicates: how many known architectures the strategy proposed again.
        seconds: wall time, summed over interruptions.
        objectives, constraints: of the search, by the figures of its trials.
    """

    trials: list[Trial] = field(default_factory=list)
    best: Trial | None = None
    stopped: str = ""
    duplicates: int = 0
    seconds: float = 0.0
    objectives: tuple[Objective, ...] = ()
    constraints: tuple[Constraint, ...] = ()

    def front(self, objectives: Sequence[str | Objective] | str = ()) -> list[Trial]:
        """The trials on the Pareto front, by falling first objective; those that break a constraint are left out.

        Args:
            objectives: as in ``Search``, but with "score" for the score; those of the search by default.

        Raises:
            GraphnasError: neither the search nor the call names objectives.
        """
        from graphnas.pareto import front

        return front(
            self.trials,
            parse_objectives(objectives) if objectives else parse_objectives(self.objectives),
            self.constraints,
        )

    @property
    def failed(self) -> int:
        """Number of failed trials."""
        return sum(t.status == "failed" for t in self.trials)

    def curve(self) -> list[float]:
        """The best score after each trial (NaN before the first success)."""
        values, best = [], math.nan
        for trial in self.trials:
            if not best >= trial.score and trial.score == trial.score:
                best = trial.score
            values.append(best)
        return values
