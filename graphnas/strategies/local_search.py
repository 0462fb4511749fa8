"""Local search (White, Nolen & Savani, UAI 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.space import Space
from graphnas.strategies.base import Strategy, Trial

MOVES = ("best", "first")


class LocalSearch(Strategy):
    """Evaluates the neighbours of the current architecture and moves to a better one; restarts at a local optimum.

    Args:
        space: what to search.
        rng: the source of all random draws.
        initial: random architectures before each climb; the climb starts at the best of them.
        move: "best" evaluates all neighbours and takes the best, "first" moves at the first improvement.
    """

    def __init__(self, space: Space, rng: np.random.Generator, initial: int = 1, move: str = "best") -> None:
        super().__init__(space, rng)
        if move not in MOVES:
            raise unknown("move of local search", move, MOVES)
        if initial < 1:
            raise GraphnasError(f"local search needs at least one initial architecture, not {initial}")
        self.initial = initial
        self.move = move
        self._begin()

    def _begin(self) -> None:
        self._centre: tuple[Architecture, float] | None = None
        self._better: tuple[Architecture, float] | None = None
        self._pending: list[Architecture] = []
        self._missing = self.initial

    def ask(self, n: int) -> list[Architecture]:
        """The next neighbours (fewer than ``n`` when the neighbourhood ends), or random architectures at a start."""
        if self._missing:
            return [self.space.sample(self.rng) for _ in range(min(n, self._missing))]
        asked = self._pending[-n:]
        asked.reverse()
        return asked

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keep the best; at the end of a neighbourhood move there, or restart."""
        for trial in trials:
            if self._missing:
                self._missing -= 1
            elif self._pending:
                self._pending.pop()
            score = trial.score
            if score == score and (self._better is None or score > self._better[1]):
                self._better = (trial.architecture, score)
        if self._missing:
            return
        if self._better is not None and (not self._pending or (self.move == "first" and self._centre is not None)):
            if self._centre is None or self._better[1] > self._centre[1]:
                self._climb(self._better)
                return
        if not self._pending:
            self._begin()

    def _climb(self, centre: tuple[Architecture, float]) -> None:
        self._centre = self._better = centre
        near = list(self.space.neighbours(centre[0]))
        # A random order, so that ties and "first" moves do not follow the order of the decisions.
        self._pending = [near[i] for i in self.rng.permutation(len(near)).tolist()]
        if not near:
            self._begin()

    def _state(self) -> dict[str, Any]:
        def pair(member: tuple[Architecture, float] | None) -> Any:
            return None if member is None else [list(self.space.encode(member[0])), member[1]]

        return {
            "centre": pair(self._centre),
            "better": pair(self._better),
            "pending": [list(self.space.encode(a)) for a in self._pending],
            "missing": self._missing,
        }

    def _load(self, state: dict[str, Any]) -> None:
        def pair(member: Any) -> tuple[Architecture, float] | None:
            return None if member is None else (self.space.decode(member[0]), member[1])

        self._centre, self._better = pair(state["centre"]), pair(state["better"])
        self._pending = [self.space.decode(d) for d in state["pending"]]
        self._missing = state["missing"]
