"""Regularised evolution (Real, Aggarwal, Huang & Le, AAAI 2019)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.space import Space
from graphnas.strategies.base import Strategy, Trial


class RegularisedEvolution(Strategy):
    """A population of the latest architectures; the best of a random sample is mutated, and the oldest dies.

    Args:
        space: what to search.
        rng: the source of all random draws.
        population: how many of the latest architectures are alive; the first ones are random.
        sample: size of the tournament (drawn with replacement).
    """

    def __init__(self, space: Space, rng: np.random.Generator, population: int = 50, sample: int = 10) -> None:
        super().__init__(space, rng)
        if population < 1 or sample < 1:
            raise GraphnasError(f"evolution needs population >= 1 and sample >= 1, not {population} and {sample}")
        self.population = population
        self.sample = sample
        self._alive: deque[tuple[Architecture, float]] = deque(maxlen=population)
        self._asked = 0

    def ask(self, n: int) -> list[Architecture]:
        """Random architectures until the population is full, then mutated winners of tournaments."""
        result = []
        for _ in range(n):
            if self._asked < self.population or not self._alive:
                result.append(self.space.sample(self.rng))
            else:
                result.append(self.space.mutate(self._winner(), self.rng))
            self._asked += 1
        return result

    def _winner(self) -> Architecture:
        alive, size = self._alive, len(self._alive)
        drawn = [alive[int(u * size)] for u in self.rng.random(self.sample).tolist()]
        return max(drawn, key=_score)[0]

    def tell(self, trials: Sequence[Trial]) -> None:
        """The trials join the population; failed ones lose every tournament."""
        for trial in trials:
            score = trial.score
            self._alive.append((trial.architecture, score if score == score else -np.inf))

    def _state(self) -> dict[str, Any]:
        alive = [[list(self.space.encode(a)), None if score == -np.inf else score] for a, score in self._alive]
        return {"asked": self._asked, "alive": alive}

    def _load(self, state: dict[str, Any]) -> None:
        self._asked = state["asked"]
        members = ((self.space.decode(d), -np.inf if score is None else score) for d, score in state["alive"])
        self._alive = deque(members, maxlen=self.population)


def _score(member: tuple[Architecture, float]) -> float:
    return member[1]
