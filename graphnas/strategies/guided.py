"""Predictor-guided search: evaluate the candidates that a fitted predictor finds most promising."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.predictor import Predictor
from graphnas.space import Space
from graphnas.strategies.acquisition import ACQUISITIONS, half_top
from graphnas.strategies.learned import LearnedStrategy, make_learner

HALF_TOP = "half_top"


class PredictorGuided(LearnedStrategy[Predictor]):
    """Random labels first; then of many candidates those of greatest acquisition, by a predictor fitted to all labels.

    Candidates are mutants of the best and random architectures, all unknown and distinct. This is the common core of
    Neural Predictor (Wen et al., ECCV 2020), BANANAS (White et al., AAAI 2021: mutants, "thompson"), BRP-NAS (Dudziak
    et al., NeurIPS 2020: "half_top") and WeakNAS (Wu et al., NeurIPS 2021).

    Args:
        space: what to search.
        rng: the source of all random draws.
        predictor: a registered name, or a callable ``(space, **predictor_options) -> Predictor``. It must be
            deterministic, or a loaded state goes on differently.
        predictor_options: arguments of the predictor.
        initial: scored random architectures before the first fit.
        candidates: how many are predicted, in one call, for every ask (at least as many as asked for).
        mutants: share of the candidates that are mutants of the best, in [0, 1]; the others are random.
        parents: how many of the best architectures are mutated.
        acquisition: "mean", "ucb", "thompson", "expected_improvement", or "half_top": half the best predictions, half
            uniform among the next ones of the predicted top.
        top: width of the predicted top of "half_top".
        every: labels between fits, at least.
        growth: factor between the numbers of labels of successive fits, at least.

    Raises:
        GraphnasError: unknown predictor or acquisition, or an argument out of range.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        predictor: str | Callable[..., Predictor] = "random_forest",
        predictor_options: Mapping[str, Any] | None = None,
        initial: int = 20,
        candidates: int = 200,
        mutants: float = 0.5,
        parents: int = 10,
        acquisition: str = "half_top",
        top: int = 20,
        every: int = 5,
        growth: float = 1.1,
    ) -> None:
        if acquisition not in (*ACQUISITIONS, HALF_TOP):
            raise unknown("acquisition", acquisition, (*ACQUISITIONS, HALF_TOP))
        if candidates < 1 or parents < 1 or top < 1 or not 0 <= mutants <= 1:
            raise GraphnasError(
                "predictor-guided search needs candidates >= 1, parents >= 1, top >= 1 and 0 <= mutants <= 1, "
                f"not {candidates}, {parents}, {top} and {mutants}"
            )
        learner = make_learner(Predictor, predictor, space, predictor_options)  # type: ignore[type-abstract]
        super().__init__(space, rng, learner, initial=initial, every=every, growth=growth, keep=parents)
        self.candidates = candidates
        self.mutants = mutants
        self.acquisition = acquisition
        self.top = top

    def _propose(self, n: int) -> list[Architecture]:
        pool = self._pool(max(n, self.candidates))
        if not pool:
            return self._random(n)
        prediction = self.learner.predict(pool)
        if self.acquisition == HALF_TOP:
            order = np.argsort(-prediction.mean, kind="stable")
            chosen = half_top(order, n, self.top, self.rng)
        else:
            values = ACQUISITIONS[self.acquisition](prediction, self.labels.best_score, self.rng)
            chosen = np.argsort(-values, kind="stable")[:n]
        return [pool[i] for i in chosen.tolist()]

    def _pool(self, size: int) -> list[Architecture]:
        """Distinct unknown candidates."""
        near = self._unknown(round(size * self.mutants), lambda: self._mutant(self.labels.best))
        far = self._unknown(size - len(near), lambda: self.space.sample(self.rng), near)
        return [*near.values(), *far.values()]
