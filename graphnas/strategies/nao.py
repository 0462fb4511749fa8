"""NAO: move the best architectures uphill in the latent space of a predictor (Luo et al., NeurIPS 2018)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.predictor import Predictor
from graphnas.space import Space
from graphnas.strategies.learned import LearnedStrategy, make_learner


@runtime_checkable
class Improves(Protocol):
    """A predictor that can move architectures uphill."""

    def improve(self, architectures: Sequence[Architecture], step: float) -> Sequence[Architecture]:
        """What the architectures become after a step of this length along the gradient of the predicted score."""


class NAO(LearnedStrategy[Predictor]):
    """Random labels first; then the best architectures, moved uphill by the predictor, with growing steps until they are new.

    After every fit, steps of length 1, 2, 3, ... are tried from the best labelled architectures until ``new`` unknown ones
    are found; they are asked for in the order of their predicted scores. When they are used up before the next fit, and
    when no step finds any, mutants of the best are asked for, again by predicted score.

    Args:
        space: what to search.
        rng: the source of all random draws.
        predictor: a registered name, or a callable ``(space, **predictor_options) -> Predictor`` that has ``improve``.
            It must be deterministic, or a loaded state goes on differently.
        predictor_options: arguments of the predictor.
        initial: scored random architectures before the first fit.
        best: how many of the best labelled architectures are moved.
        new: how many unknown architectures are looked for after each fit.
        rounds: the longest step.
        mutants: how many mutants are predicted for every ask that the gradient leaves open.
        every: labels between fits, at least.
        growth: factor between the numbers of labels of successive fits, at least.

    Raises:
        GraphnasError: unknown predictor, one that cannot improve, or an argument out of range.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        predictor: str | Callable[..., Predictor] = "nao",
        predictor_options: Mapping[str, Any] | None = None,
        initial: int = 50,
        best: int = 20,
        new: int = 40,
        rounds: int = 20,
        mutants: int = 100,
        every: int = 20,
        growth: float = 1.3,
    ) -> None:
        if min(best, new, rounds, mutants) < 1:
            raise GraphnasError(
                f"nao needs best, new, rounds and mutants of at least 1, not {best}, {new}, {rounds} and {mutants}"
            )
        learner = make_learner(Predictor, predictor, space, predictor_options)  # type: ignore[type-abstract]
        if not isinstance(learner, Improves):
            raise GraphnasError(
                f"{learner.name} cannot move architectures uphill; give a predictor with a method improve, such as 'nao'"
            )
        super().__init__(space, rng, learner, initial=initial, every=every, growth=growth, keep=best)
        self.new = new
        self.rounds = rounds
        self.mutants = mutants
        self._waiting: list[Architecture] = []  # the most promising last

    def _fitted(self) -> None:
        found: dict[str, Architecture] = {}
        for step in range(1, self.rounds + 1):
            for architecture in self.learner.improve(self.labels.best, float(step)):  # type: ignore[attr-defined]
                key = self.space.key(architecture)
                if key not in self.labels:
                    found.setdefault(key, architecture)
            if len(found) >= self.new:
                break
        self._waiting = self._by_prediction(list(found.values()))[: self.new][::-1]

    def _by_prediction(self, architectures: list[Architecture]) -> list[Architecture]:
        order = np.argsort(-self.learner.predict(architectures).mean, kind="stable")
        return [architectures[i] for i in order.tolist()]

    def _propose(self, n: int) -> list[Architecture]:
        chosen: dict[str, Architecture] = {}
        while self._waiting and len(chosen) < n:
            architecture = self._waiting.pop()
            key = self.space.key(architecture)
            if key not in self.labels:
                chosen[key] = architecture
        if len(chosen) < n:
            near = self._unknown(max(n, self.mutants), lambda: self._mutant(self.labels.best), chosen)
            chosen.update({self.space.key(a): a for a in self._by_prediction(list(near.values()))[: n - len(chosen)]})
        return list(chosen.values()) or self._random(n)

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "waiting": [list(self.space.encode(a)) for a in self._waiting]}

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self._waiting = [self.space.decode(d) for d in state["waiting"]]
