"""The evolution that searches supernets: of all architectures so far, the best have mutants and crossovers."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space
from graphnas.strategies.base import Strategy, Trial

_TRIES = 100


class SinglePathEvolution(Strategy):
    """Generations of mutants and crossovers of the best architectures so far (Guo et al., ECCV 2020, algorithm 1).

    RLNAS searches NAS-Bench-201 with population 100, top 30, 50 mutants, 50 crossovers, and never mutates to "none" (Zhang
    et al., CVPR 2021). Known architectures are drawn again, so that a generation is new as far as the space allows. Where mutants
    and crossovers do not fill the population, random architectures do.

    Args:
        space: what to search.
        rng: the source of all random draws.
        population: size of a generation; the first one is random.
        top: how many of the best so far are parents.
        mutants, crossovers: of a generation.
        mutation: the probability that a mutant draws a decision anew.
        never: options, by their text, that no mutation chooses.
        feasible: a limit that every proposed architecture keeps; None: all are allowed.

    Raises:
        GraphnasError: an argument out of range, or no feasible architecture is found.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        population: int = 50,
        top: int = 10,
        mutants: int = 25,
        crossovers: int = 25,
        mutation: float = 0.1,
        never: Sequence[str] = (),
        feasible: Callable[[Architecture], bool] | None = None,
    ) -> None:
        super().__init__(space, rng)
        if population < 1 or top < 1 or mutants < 0 or crossovers < 0 or not 0 < mutation <= 1:
            raise GraphnasError(
                "this evolution needs population >= 1, top >= 1, mutants >= 0, crossovers >= 0 and 0 < mutation <= 1, "
                f"not {population}, {top}, {mutants}, {crossovers} and {mutation}"
            )
        if mutants + crossovers > population:
            raise GraphnasError(
                f"{mutants} mutants and {crossovers} crossovers do not fit in a population of {population}; make it larger"
            )
        self.population, self.top, self.mutants, self.crossovers = population, top, mutants, crossovers
        self.mutation, self.never, self.feasible = mutation, tuple(never), feasible
        self._drawable = [
            [k for k, option in enumerate(c.options) if str(option) not in self.never] or list(range(len(c.options)))
            for c in space.choices
        ]
        self._best: list[tuple[float, int, Decisions]] = []  # a heap of (score, -number, decisions)
        self._number = 0
        self._seen: set[str] = set()
        self._queue: list[Decisions] = []

    def ask(self, n: int) -> list[Architecture]:
        """What is left of the generation, and then the next one."""
        if not self._queue:
            self._queue = self._generation()
        asked, self._queue = self._queue[:n], self._queue[n:]
        return [self.space.decode(made) for made in asked]

    def tell(self, trials: Sequence[Trial]) -> None:
        """The best so far are kept; failed ones and duplicates are not."""
        for trial in trials:
            self._seen.add(trial.key)
            if trial.status != "duplicate" and np.isfinite(trial.score):
                entry = (trial.score, -self._number, self.space.encode(trial.architecture))
                (heapq.heappush if len(self._best) < self.top else heapq.heappushpop)(self._best, entry)
            self._number += 1

    def _generation(self) -> list[Decisions]:
        parents = [made for _, _, made in sorted(self._best, reverse=True)]
        made: dict[str, Decisions] = {}
        if parents:
            self._fill(made, self.mutants, lambda: self._mutant(parents))
            self._fill(made, len(made) + self.crossovers, lambda: self._crossover(parents))
        self._fill(made, self.population, self._random)
        return list(made.values()) or [self._random()]

    def _fill(self, made: dict[str, Decisions], size: int, draw: Callable[[], Decisions]) -> None:
        """Draw until there are ``size`` new architectures, or too many draws were in vain."""
        for _ in range(_TRIES * size):
            if len(made) >= size:
                return
            decisions = draw()
            key = self.space.key(self.space.decode(decisions))
            if key not in self._seen:
                made.setdefault(key, decisions)

    def _accepts(self, decisions: Decisions) -> bool:
        if not self.space.is_valid(decisions):
            return False
        return self.feasible is None or self.feasible(self.space.decode(decisions))

    def _random(self) -> Decisions:
        for _ in range(_TRIES * _TRIES):
            made = self.space.encode(self.space.sample(self.rng))
            if self._accepts(made):
                return made
        raise GraphnasError(
            f"no feasible architecture of space {self.space.name!r} in {_TRIES**2} draws; loosen the limit"
        )

    def _mutant(self, parents: Sequence[Decisions]) -> Decisions:
        parent = parents[int(self.rng.random() * len(parents))]
        for _ in range(_TRIES):
            coins, draws = self.rng.random((2, len(parent))).tolist()
            made = tuple(
                options[int(u * len(options))] if coin < self.mutation else d
                for d, coin, u, options in zip(parent, coins, draws, self._drawable, strict=True)
            )
            if self._accepts(made):
                return made
        return parent

    def _crossover(self, parents: Sequence[Decisions]) -> Decisions:
        first, second = (parents[int(u * len(parents))] for u in self.rng.random(2).tolist())
        for _ in range(_TRIES):
            coins = self.rng.random(len(first)).tolist()
            made = tuple(a if coin < 0.5 else b for a, b, coin in zip(first, second, coins, strict=True))
            if self._accepts(made):
                return made
        return first

    def _state(self) -> dict[str, Any]:
        return {
            "best": [[score, number, list(made)] for score, number, made in self._best],
            "number": self._number,
            "seen": sorted(self._seen),
            "queue": [list(made) for made in self._queue],
        }

    def _load(self, state: dict[str, Any]) -> None:
        self._best = [(score, number, tuple(made)) for score, number, made in state["best"]]
        self._number = state["number"]
        self._seen = set(state["seen"])
        self._queue = [tuple(made) for made in state["queue"]]
