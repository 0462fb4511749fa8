"""A finished run as a report needs it: what was searched, with which settings, and all trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphnas.objectives import Constraint, parse_constraints, violation
from graphnas.space import Space
from graphnas.strategies.base import Trial


@dataclass(frozen=True)
class Run:
    """One run of a search.

    Attributes:
        name: shown in the report; runs with one name on the same thing are repeats of each other.
        settings: what reproduces the run, as JSON values; "on", "estimator" and "strategy" may be a
            name or an object with "name".
        trials: in the order in which they were asked for.
        space: what was searched.
        metric: name of what the scores measure.
        test: test metrics of the best architecture, read once; empty when there are none.
        command: the shell command that repeats the run; empty when there is none.
        maximise: False when ``Trial.score`` is the negated metric.
        proposed_again: known architectures that the strategy proposed and that are not among the trials (a Search keeps
            none of them).
        wall: seconds of the whole search; the sum of the trials' seconds when it is not known.
        weights: of gradient-based searches: for each epoch ``epoch`` and ``weights``, matrices by group.
        groups: of gradient-based searches: for each group the names of its ``rows`` and ``options``.
    """

    name: str
    settings: Mapping[str, Any]
    trials: Sequence[Trial]
    space: Space
    metric: str = "score"
    test: Mapping[str, float] = field(default_factory=dict)
    command: str = ""
    maximise: bool = True
    proposed_again: int = 0
    wall: float | None = None
    weights: Sequence[Mapping[str, Any]] = ()
    groups: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    @property
    def on(self) -> str:
        """The task or table that the run was scored on ("on", else the estimator's name); empty when not given."""
        return _name(self.settings.get("on")) or _name(self.settings.get("estimator"))

    @property
    def strategy(self) -> str:
        """The strategy's name; empty when the settings do not say."""
        return _name(self.settings.get("strategy"))

    @property
    def evaluations(self) -> int:
        """Trials that cost an evaluation: all but duplicates, whose score was known."""
        return sum(t.status != "duplicate" for t in self.trials)

    @property
    def failed(self) -> list[Trial]:
        """The trials that failed."""
        return [t for t in self.trials if t.status == "failed"]

    @property
    def duplicates(self) -> int:
        """How many architectures were proposed whose key was known."""
        return self.proposed_again + sum(t.status == "duplicate" for t in self.trials)

    @property
    def seconds(self) -> float:
        """Wall time of the search, or of its evaluations."""
        if self.wall is not None:
            return self.wall
        return math.fsum(t.seconds for t in self.trials if math.isfinite(t.seconds))

    def value(self, score: float) -> float:
        """The metric, as measured, of a score."""
        return score if self.maximise else -score

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """The limits that the search had to keep."""
        return parse_constraints(self.settings.get("constraints") or ())

    def best(self, count: int = 1) -> list[Trial]:
        """The best complete trials with distinct keys that keep all constraints, best first; of equal ones the earlier."""
        limits = self.constraints
        kept = [t for t in scored(self.trials) if violation(t, limits) == 0]
        found: dict[str, Trial] = {}
        for t in sorted(kept, key=lambda t: -t.score):  # the sort is stable
            if len(found) == count:
                break
            found.setdefault(t.key, t)
        return list(found.values())

    def best_so_far(self) -> list[float]:
        """The best metric after each evaluation (duplicates are none); NaN until the first success."""
        best, curve, limits = math.nan, [], self.constraints
        for t in self.trials:
            if t.status == "duplicate":
                continue
            if t.status == "complete" and math.isfinite(t.score) and not best >= t.score:
                if violation(t, limits) == 0:
                    best = t.score
            curve.append(self.value(best))
        return curve


def scored(trials: Sequence[Trial]) -> list[Trial]:
    """The complete trials that have a finite score."""
    return [t for t in trials if t.status == "complete" and math.isfinite(t.score)]


def _name(setting: Any) -> str:
    if isinstance(setting, Mapping):
        setting = setting.get("name")
    return "" if setting is None else str(setting)
