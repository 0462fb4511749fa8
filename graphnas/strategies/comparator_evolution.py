"""Evolution in which a comparator decides who breeds, who survives and who is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.predictor import Comparator
from graphnas.space import Space
from graphnas.strategies.comparing import ComparingStrategy


class ComparatorEvolution(ComparingStrategy):
    """For every ask a few generations without labels, started from the best labelled; the strongest unknown are asked for.

    An architecture is as strong as its mean probability, by a comparator fitted to the labels so far, of beating the
    population that the ask began with. Tournaments choose the parents of mutants, as in regularised evolution
    (Real et al., AAAI 2019); the strongest of parents and mutants survive (NPENAS, Wei et al., 2020, selects among mutants
    by a predictor in this way).

    Args:
        space: what to search.
        rng: the source of all random draws.
        comparator: a registered name, or a callable ``(space, **comparator_options) -> Comparator``. It must be
            deterministic, or a loaded state goes on differently.
        comparator_options: arguments of the comparator.
        initial: scored random architectures before the first fit.
        population: how many survive a generation, and how many of the best labelled begin.
        sample: size of a tournament (drawn with replacement).
        children: distinct unknown mutants of a generation.
        generations: how many for every ask.
        every: labels between fits, at least.
        growth: factor between the numbers of labels of successive fits, at least.

    Raises:
        GraphnasError: unknown comparator, or an argument out of range.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        comparator: str | Callable[..., Comparator] = "nac",
        comparator_options: Mapping[str, Any] | None = None,
        initial: int = 50,
        population: int = 20,
        sample: int = 5,
        children: int = 40,
        generations: int = 3,
        every: int = 10,
        growth: float = 1.3,
    ) -> None:
        if min(population, sample, children, generations) < 1:
            raise GraphnasError(
                "comparator evolution needs population, sample, children and generations of at least 1, "
                f"not {population}, {sample}, {children} and {generations}"
            )
        labels: dict[str, Any] = {"initial": initial, "every": every, "growth": growth, "keep": population}
        super().__init__(space, rng, comparator, comparator_options, **labels)
        self.population = population
        self.sample = sample
        self.children = children
        self.generations = generations

    def _propose(self, n: int) -> list[Architecture]:
        alive = list(zip(self.references, self.strengths(self.references), strict=True))
        born: dict[str, tuple[Architecture, float]] = {}
        for _ in range(self.generations):
            found = self._breed(max(n, self.children), alive, {key: child for key, (child, _) in born.items()})
            if not found:
                break
            strengths = self.strengths(list(found.values()))
            new = dict(zip(found, zip(found.values(), strengths, strict=True), strict=True))
            born.update(new)
            alive = sorted([*alive, *new.values()], key=_strength, reverse=True)[: self.population]
        if not born:
            return self._random(n)
        return [architecture for architecture, _ in sorted(born.values(), key=_strength, reverse=True)[:n]]

    def _breed(
        self, n: int, alive: list[tuple[Architecture, float]], born: Mapping[str, Architecture]
    ) -> dict[str, Architecture]:
        return self._unknown(n, lambda: self._mutant([self._winner(alive)]), born)

    def _winner(self, alive: list[tuple[Architecture, float]]) -> Architecture:
        drawn = [alive[int(u * len(alive))] for u in self.rng.random(self.sample).tolist()]
        return max(drawn, key=_strength)[0]


def _strength(member: tuple[Architecture, float]) -> float:
    return member[1]
