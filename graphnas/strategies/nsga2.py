"""NSGA-II: evolution on several objectives (Deb, Pratap, Agarwal & Meyarivan, IEEE Trans. Evolutionary Computation, 2002)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.objectives import (
    SCORE,
    Constraint,
    Objective,
    check_figures,
    parse_constraints,
    parse_objectives,
    violation,
)
from graphnas.pareto import crowding_distance, non_dominated_ranks
from graphnas.space import Space
from graphnas.strategies.base import Strategy, Trial

_TRIES = 20


class Member(NamedTuple):
    """One architecture of the population.

    Attributes:
        architecture: as it was told.
        key: its canonical key in the space.
        values: one figure for each objective, larger is better; NaN for a failed trial.
        violation: of the constraints; 0 where all are kept.
    """

    architecture: Architecture
    key: str
    values: tuple[float, ...]
    violation: float


class NSGA2(Strategy):
    """Parents and children compete for the next generation: by non-dominated front, then by how much room they have in it.

    Children come from parents that win binary tournaments by front and crowding distance; crossover takes each decision from
    either parent, and one decision is mutated. Unlike the original, the population holds an architecture (by key) once, and a
    child that is in it is mutated again: in a discrete space copies of the best would crowd out everything else.

    With one objective this is an elitist genetic algorithm. Constraints rank before objectives: what breaks them less is better,
    and what keeps them all is better than anything that does not. Failed trials come last.

    Args:
        space: what to search.
        rng: the source of all random draws.
        objectives: names of figures of the trials, with ``-`` for those to be made small: ``["score", "-latency"]``.
        constraints: limits of figures, as in ``["latency<=5"]``.
        population: parents of a generation, and children.
        crossover: probability that a child has two parents, in [0, 1].
        mutation: probability that a child is mutated in one decision, in [0, 1].

    Raises:
        GraphnasError: an argument out of range or in another form; at the first trials: they lack a figure.
    """

    takes_objectives: ClassVar[bool] = True

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        objectives: Sequence[str | Objective] | str = (SCORE,),
        constraints: Sequence[str | Constraint] | str = (),
        population: int = 20,
        crossover: float = 0.9,
        mutation: float = 1.0,
    ) -> None:
        super().__init__(space, rng)
        if population < 2 or not (0 <= crossover <= 1 and 0 <= mutation <= 1):
            raise GraphnasError(
                "nsga2 needs population >= 2, and crossover and mutation from 0 to 1, "
                f"not {population}, {crossover} and {mutation}"
            )
        self.objectives = parse_objectives(objectives)
        self.constraints = parse_constraints(constraints)
        self.population = population
        self.crossover = crossover
        self.mutation = mutation
        self._asked = 0
        self._parents: list[Member] = []
        self._children: list[Member] = []
        self._ranks = np.zeros(0, dtype=np.int64)
        self._room = np.zeros(0)

    def ask(self, n: int) -> list[Architecture]:
        """Random architectures for the first generation, then children of the present parents."""
        result = []
        for _ in range(n):
            first = self._asked < self.population or not self._parents
            result.append(self.space.sample(self.rng) if first else self._child())
            self._asked += 1
        return result

    def tell(self, trials: Sequence[Trial]) -> None:
        """The trials are children; a full generation of them competes with its parents."""
        for trial in trials:
            if trial.status != "failed":
                names = [o.name for o in self.objectives] + [c.name for c in self.constraints]
                check_figures(names, trial.metrics, "the estimator")
            values = tuple(o.value(trial) for o in self.objectives)
            self._children.append(Member(trial.architecture, trial.key, values, violation(trial, self.constraints)))
            if len(self._children) == self.population:
                self._select()

    def _select(self) -> None:
        everyone = list({member.key: member for member in reversed([*self._parents, *self._children])}.values())[::-1]
        kept = select(everyone, self.population)
        self._parents, self._children = [everyone[i] for i in kept], []
        self._rank()

    def _rank(self) -> None:
        self._ranks, self._room = ranks_and_room(self._parents)

    def _child(self) -> Architecture:
        space, rng = self.space, self.rng
        child = self._winner()
        if rng.random() < self.crossover:
            child = space.crossover(child, self._winner(), rng)
        if rng.random() < self.mutation:
            child = space.mutate(child, rng)
        alive = {member.key for member in self._parents}
        for _ in range(_TRIES):
            if space.key(child) not in alive:
                break
            child = space.mutate(child, rng)
        return child

    def _winner(self) -> Architecture:
        """Of two parents the one on the better front, or with more room in the same."""
        count = len(self._parents)
        i, j = (int(u * count) for u in self.rng.random(2).tolist())
        better = (self._ranks[i], -self._room[i]) <= (self._ranks[j], -self._room[j])
        return self._parents[i if better else j].architecture

    def _state(self) -> dict[str, Any]:
        return {
            "asked": self._asked,
            "parents": self._written(self._parents),
            "children": self._written(self._children),
        }

    def _written(self, members: Sequence[Member]) -> list[Any]:
        return [
            [
                list(self.space.encode(m.architecture)),
                [None if math.isnan(v) else v for v in m.values],
                None if math.isinf(m.violation) else m.violation,
            ]
            for m in members
        ]

    def _load(self, state: dict[str, Any]) -> None:
        self._asked = state["asked"]
        self._parents, self._children = self._read(state["parents"]), self._read(state["children"])
        self._rank()

    def _read(self, written: Sequence[Any]) -> list[Member]:
        members = []
        for decisions, figures, over in written:
            architecture = self.space.decode(decisions)
            values = tuple(math.nan if v is None else v for v in figures)
            members.append(
                Member(architecture, self.space.key(architecture), values, math.inf if over is None else over)
            )
        return members


def ranks_and_room(members: Sequence[Member]) -> tuple[np.ndarray, np.ndarray]:
    """The front of each member, and its crowding distance within that front."""
    points = np.array([m.values for m in members], dtype=np.float64).reshape(len(members), -1 if members else 1)
    ranks = non_dominated_ranks(points, np.array([m.violation for m in members]))
    room = np.zeros(len(members))
    for rank in range(int(ranks.max(initial=-1)) + 1):
        front = np.flatnonzero(ranks == rank)
        room[front] = crowding_distance(np.nan_to_num(points[front], nan=0.0))
    return ranks, room


def select(members: Sequence[Member], count: int) -> list[int]:
    """Places of the ``count`` members that survive: whole fronts first, then those with most room of the last one."""
    ranks, room = ranks_and_room(members)
    order = np.lexsort((np.arange(len(members)), -room, ranks))
    return [int(i) for i in order[:count]]
