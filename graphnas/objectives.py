"""What a search optimises when one figure is not enough: objectives to trade off and constraints to keep."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphnas.errors import GraphnasError
from graphnas.strategies.base import Trial

SCORE = "score"
"""The name under which objectives and constraints read ``Trial.score`` in place of a metric."""

_CONSTRAINT = re.compile(r"\s*(?P<name>[^<>=]+?)\s*(?P<sign><=|>=)\s*(?P<limit>[^<>=]+)")


@dataclass(frozen=True)
class Objective:
    """One figure of a trial, to be made large, or small where ``maximise`` is False.

    Attributes:
        name: a metric of the trials, or "score".
        maximise: the direction.
    """

    name: str
    maximise: bool = True

    @classmethod
    def parse(cls, text: str | Objective) -> Objective:
        """``"validation"`` (to be made large) or ``"-latency"`` (to be made small).

        Raises:
            GraphnasError: no name.
        """
        if isinstance(text, Objective):
            return text
        name = text.strip()
        maximise = not name.startswith("-")
        name = name.removeprefix("-").strip()
        if not name:
            raise GraphnasError(f"an objective is the name of a figure, as in validation or -latency, not {text!r}")
        return cls(name, maximise)

    def value(self, trial: Trial) -> float:
        """Its figure, turned so that larger is better; NaN where the trial has none."""
        found = figure(trial, self.name)
        return found if self.maximise else -found

    def __str__(self) -> str:
        return self.name if self.maximise else f"-{self.name}"


@dataclass(frozen=True)
class Constraint:
    """A limit that a figure of a trial must not pass.

    Attributes:
        name: a metric of the trials, or "score".
        limit: in the figure's unit; the limit itself is allowed.
        upper: True for at most ``limit``, False for at least.
    """

    name: str
    limit: float
    upper: bool = True

    @classmethod
    def parse(cls, text: str | Constraint) -> Constraint:
        """``"latency<=5"`` or ``"validation>=90"``.

        Raises:
            GraphnasError: another form, or a limit that is not a finite number.
        """
        if isinstance(text, Constraint):
            return text
        found = _CONSTRAINT.fullmatch(text)
        try:
            limit = float(found["limit"]) if found else math.nan
        except ValueError:
            limit = math.nan
        if found is None or not math.isfinite(limit):
            raise GraphnasError(
                f"a constraint is a figure with its limit, as in 'latency<=5' or 'validation>=90', not {text!r}"
            )
        return cls(found["name"], limit, found["sign"] == "<=")

    def violation(self, trial: Trial) -> float:
        """By how much the limit is passed, as a share of it (in the figure's unit where the limit is 0); 0 if kept, infinite without a figure."""
        found = figure(trial, self.name)
        beyond = found - self.limit if self.upper else self.limit - found
        if beyond != beyond:
            return math.inf
        return max(beyond, 0.0) / (abs(self.limit) or 1.0)

    def __str__(self) -> str:
        return f"{self.name}{'<=' if self.upper else '>='}{repr(float(self.limit)).removesuffix('.0')}"


def figure(trial: Trial, name: str) -> float:
    """The score or a metric of a trial; NaN where it has none."""
    return trial.score if name == SCORE else trial.metrics.get(name, math.nan)


def parse_objectives(texts: Iterable[str | Objective] | str) -> tuple[Objective, ...]:
    """Objectives from a list, or from one text with commas.

    Raises:
        GraphnasError: none at all, a name twice, or another form.
    """
    found = tuple(map(Objective.parse, texts.split(",") if isinstance(texts, str) else texts))
    if not found:
        raise GraphnasError("give at least one objective, as in validation or -latency")
    if len({o.name for o in found}) != len(found):
        raise GraphnasError(f"the objectives {', '.join(map(str, found))} name one figure twice")
    return found


def parse_constraints(texts: Iterable[str | Constraint] | str) -> tuple[Constraint, ...]:
    """Constraints from a list, or from one text with commas; none is fine."""
    given = [part for part in texts.split(",") if part.strip()] if isinstance(texts, str) else texts
    return tuple(map(Constraint.parse, given))


def values(trials: Sequence[Trial], objectives: Sequence[Objective]) -> np.ndarray:
    """``[trials, objectives]``, larger is better; NaN where a trial has no figure or failed."""
    return np.array([[o.value(t) for o in objectives] for t in trials], dtype=np.float64).reshape(
        len(trials), len(objectives)
    )


def violation(trial: Trial, constraints: Sequence[Constraint]) -> float:
    """The sum of the relative violations; 0 where all constraints are kept."""
    return math.fsum(c.violation(trial) for c in constraints) if constraints else 0.0


def named(objective: Objective, metric: str, maximise: bool) -> Objective:
    """The objective on trials, where the user may call the score by the name of the estimator's metric.

    Args:
        objective: as the user wrote it.
        metric: what the estimator's score measures.
        maximise: False when the score is the negated metric.

    Raises:
        GraphnasError: it asks for the direction that the estimator does not have.
    """
    if objective.name != metric or metric == SCORE:
        return objective
    if objective.maximise != maximise:
        better = metric if maximise else f"-{metric}"
        raise GraphnasError(
            f"the estimator's {metric} is better when {'larger' if maximise else 'smaller'}; ask for {better}"
        )
    return Objective(SCORE)


def limited(constraint: Constraint, metric: str, maximise: bool) -> Constraint:
    """The constraint on trials, where the user may call the score by the name of the estimator's metric."""
    if constraint.name != metric or metric == SCORE:
        return constraint
    if maximise:
        return Constraint(SCORE, constraint.limit, constraint.upper)
    return Constraint(SCORE, -constraint.limit, not constraint.upper)


def check_figures(names: Iterable[str], metrics: Mapping[str, float], what: str) -> None:
    """Raise a GraphnasError when a finished trial lacks a figure that an objective or a constraint names."""
    for name in names:
        if name != SCORE and name not in metrics:
            have = ", ".join(sorted(metrics)) or "none"
            raise GraphnasError(
                f"{what} does not report {name!r} (its metrics: {have}); name one of these, or the score"
            )
