"""Several objectives by predictors: a point of the front at a time, in directions drawn so that the hypervolume grows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.objectives import (
    SCORE,
    Constraint,
    Objective,
    check_figures,
    figure,
    parse_constraints,
    parse_objectives,
)
from graphnas.pareto import non_dominated
from graphnas.predictor import Prediction, Predictor
from graphnas.space import Space
from graphnas.strategies.base import Strategy, Trial
from graphnas.strategies.learned import make_learner

_FOREST = {"features": "one_hot", "trees": 100}
_TRIES = 10


class GuidedFront(Strategy):
    """Random architectures first; then what predictors, one for each figure, promise for the front.

    For every proposal a direction is drawn, w uniform on the positive part of the sphere, and every candidate's figures are
    predicted. The proposal is the candidate of the greatest min_i (y_i - r_i) / w_i, where y are the objectives
    in units of the front's range and r lies a tenth of it below the front: a hypervolume is the expectation of the m-th
    power of such scalarisations (Golovin & Zhang, ICML 2020), so that searching in random directions makes it grow. Candidates are mutants of what
    is on the front, and random architectures. Where there are constraints, a candidate that is predicted to break them comes after all that are not.

    Args:
        space: what to search.
        rng: the source of all random draws.
        objectives: names of figures of the trials, with ``-`` for those to be made small.
        constraints: limits of figures, as in ``["latency<=5"]``.
        predictor: a registered name, or a callable ``(space, **predictor_options) -> Predictor``; one is made for each figure.
        predictor_options: its arguments; for "random_forest" 100 trees on the decisions unless given.
        initial: random architectures with all figures before the first fit.
        candidates: how many are predicted for every ask.
        mutants: share of them that are mutants, in [0, 1].
        every: trials between fits, at least.
        growth: factor between the numbers of trials of successive fits, at least.
        exploration: 1 draws the figures of every candidate from their predictions (Thompson sampling), 0 takes the means. The directions
            and the random candidates explore already; forests say too much of their doubt where they have seen little.

    Raises:
        GraphnasError: unknown predictor, or an argument out of range; at the first trials: they lack a figure.
    """

    takes_objectives: ClassVar[bool] = True

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        objectives: Sequence[str | Objective] | str = (SCORE,),
        constraints: Sequence[str | Constraint] | str = (),
        predictor: str | Callable[..., Predictor] = "random_forest",
        predictor_options: Mapping[str, Any] | None = None,
        initial: int = 20,
        candidates: int = 400,
        mutants: float = 0.5,
        every: int = 5,
        growth: float = 1.15,
        exploration: float = 0.0,
    ) -> None:
        super().__init__(space, rng)
        if (
            initial < 2
            or candidates < 1
            or every < 1
            or not growth >= 1
            or not 0 <= mutants <= 1
            or not exploration >= 0
        ):
            raise GraphnasError(
                "guided_front needs initial >= 2, candidates >= 1, every >= 1, growth >= 1, 0 <= mutants <= 1 and "
                f"exploration >= 0, not {initial}, {candidates}, {every}, {growth}, {mutants} and {exploration}"
            )
        self.objectives = parse_objectives(objectives)
        self.constraints = parse_constraints(constraints)
        self.figures = tuple(dict.fromkeys([*(o.name for o in self.objectives), *(c.name for c in self.constraints)]))
        options = predictor_options if predictor_options is not None or predictor != "random_forest" else _FOREST
        self.predictors = [make_learner(Predictor, predictor, space, options) for _ in self.figures]  # type: ignore[type-abstract]
        self.initial = initial
        self.candidates = candidates
        self.mutants = mutants
        self.every = every
        self.growth = growth
        self.exploration = exploration
        self._constant: list[float | None] = [None] * len(self.figures)
        self._known: dict[str, Architecture] = {}
        self._measured: list[tuple[Architecture, tuple[float, ...]]] = []  # those that have all figures
        self._fitted = 0  # how many of them the predictors have seen

    def ask(self, n: int) -> list[Architecture]:
        """Random architectures at first, then proposals; known ones only where no unknown one is found."""
        count = len(self._measured)
        if count < self.initial:
            return self._unknown(n, lambda: self.space.sample(self.rng)) or [self.space.sample(self.rng)]
        if not self._fitted or count >= max(self._fitted + self.every, self.growth * self._fitted):
            self._fit(count)
        return self._propose(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        """The trials become known; those that have all figures are learned from."""
        for trial in trials:
            if trial.status != "failed":
                check_figures(self.figures, trial.metrics, "the estimator")
            found = tuple(figure(trial, name) for name in self.figures)
            if trial.key not in self._known and all(map(math.isfinite, found)):
                self._measured.append((trial.architecture, found))
            self._known.setdefault(trial.key, trial.architecture)

    def _fit(self, count: int) -> None:
        self._fitted = count
        architectures = [a for a, _ in self._measured[:count]]
        for i, predictor in enumerate(self.predictors):
            learned = np.array([found[i] for _, found in self._measured[:count]])
            self._constant[i] = float(learned[0]) if (learned == learned[0]).all() else None
            if self._constant[i] is None:
                predictor.fit(architectures, learned)

    def _predictions(self, pool: Sequence[Architecture]) -> list[Prediction]:
        """Of every figure; what was the same in all trials stays so."""
        none = np.zeros(len(pool))
        return [
            predictor.predict(pool) if value is None else Prediction(none + value, none)
            for predictor, value in zip(self.predictors, self._constant, strict=True)
        ]

    def _propose(self, n: int) -> list[Architecture]:
        measured = np.array([found for _, found in self._measured])
        points, over = self._objectives(measured), self._violations(measured)
        limit = (
            0.0 if (over == 0).any() else np.sort(over)[self.initial - 1]
        )  # the nearest to feasible, while nothing is
        kept = np.flatnonzero(over <= limit)
        front = kept[non_dominated(points[kept])]
        parents = [self._measured[i][0] for i in front.tolist()]
        pool = self._unknown(
            max(n, round(self.mutants * self.candidates)),
            lambda: self._mutant(parents),
        )
        pool += self._unknown(
            max(n, self.candidates - len(pool)), lambda: self.space.sample(self.rng), {self.space.key(a) for a in pool}
        )
        if not pool:
            return [self.space.sample(self.rng)]
        predictions = self._predictions(pool)
        low, high = points[front].min(axis=0), points[front].max(axis=0)
        spread = np.where(high > low, high - low, points.std(axis=0))
        spread = np.where(spread > 0, spread, 1.0)
        chosen: list[int] = []
        for _ in range(min(n, len(pool))):
            drawn = np.stack(
                [p.mean + self.exploration * p.std * self.rng.standard_normal(len(pool)) for p in predictions], axis=1
            )
            direction = random_direction(len(self.objectives), self.rng)
            value = scalarised((self._objectives(drawn) - low) / spread + 0.1, direction)
            order = np.lexsort((-value, self._violations(drawn)))
            chosen.append(next(i for i in order.tolist() if i not in chosen))
        return [pool[i] for i in chosen]

    def _objectives(self, found: np.ndarray) -> np.ndarray:
        """``[n, objectives]``, larger is better, of figures ``[n, figures]``."""
        signs = [1.0 if o.maximise else -1.0 for o in self.objectives]
        return np.asarray(found[:, [self.figures.index(o.name) for o in self.objectives]] * signs)

    def _violations(self, found: np.ndarray) -> np.ndarray:
        """The sum of the relative violations ``[n]`` of figures ``[n, figures]``."""
        total = np.zeros(len(found))
        for c in self.constraints:
            beyond = (found[:, self.figures.index(c.name)] - c.limit) * (1 if c.upper else -1)
            total += np.maximum(beyond, 0.0) / (abs(c.limit) or 1.0)
        return total

    def _mutant(self, parents: Sequence[Architecture]) -> Architecture:
        """A random parent with one or two changed decisions; a random architecture where it has no valid neighbour."""
        made = parents[int(self.rng.random() * len(parents))]
        try:
            for _ in range(1 + int(self.rng.random() * 2)):
                made = self.space.mutate(made, self.rng)
        except GraphnasError:
            return self.space.sample(self.rng)
        return made

    def _unknown(self, n: int, draw: Callable[[], Architecture], but: set[str] | None = None) -> list[Architecture]:
        """At most ``n`` distinct draws that were never told."""
        found: dict[str, Architecture] = {}
        for _ in range(_TRIES * n):
            if len(found) >= n:
                break
            architecture = draw()
            key = self.space.key(architecture)
            if key not in self._known and key not in (but or ()):
                found.setdefault(key, architecture)
        return list(found.values())

    def _state(self) -> dict[str, Any]:
        measured = {self.space.key(a): found for a, found in self._measured}
        known = [[list(self.space.encode(a)), measured.get(key)] for key, a in self._known.items()]
        return {"fitted": self._fitted, "known": known}

    def _load(self, state: dict[str, Any]) -> None:
        self._known, self._measured = {}, []
        for decisions, found in state["known"]:
            architecture = self.space.decode(decisions)
            self._known[self.space.key(architecture)] = architecture
            if found is not None:
                self._measured.append((architecture, tuple(found)))
        self._fitted = 0
        if state["fitted"]:
            self._fit(state["fitted"])


def random_direction(m: int, rng: np.random.Generator) -> np.ndarray:
    """A unit vector ``[m]`` of positive entries, uniform on that part of the sphere."""
    drawn = np.abs(rng.standard_normal(m)) + 1e-9
    return np.asarray(drawn / np.linalg.norm(drawn))


def scalarised(points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """``min_i y_i / w_i`` for points ``[n, m]``, measured from the reference point: how far along w each dominates, ``[n]``."""
    return np.asarray((points / direction).min(axis=1))
