"""Predictor-guided search: evaluate the candidates that a fitted predictor finds most promising."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.predictor import Prediction, Predictor, Scores
from graphnas.space import Space
from graphnas.strategies.acquisition import ACQUISITIONS, half_top
from graphnas.strategies.labels import TARGETS
from graphnas.strategies.learned import LearnedStrategy, make_learner

HALF_TOP = "half_top"
_FRONT = 10  # from how many candidates climbing starts, at least
_LATE = 1e12
_RENEWED = 0.1  # share of the random candidates that every ask replaces


class PredictorGuided(LearnedStrategy[Predictor]):
    """Random labels first; then of many candidates those of greatest acquisition, by a predictor fitted to all labels.

    Candidates are the neighbours of the best architectures, mutants of them, and random architectures, all unknown and
    distinct. From the most promising ones neighbours are followed uphill, as SMAC maximises its acquisition (Hutter et
    al., LION 2011). This is the common core of Neural Predictor (Wen et al., ECCV 2020), BANANAS (White et al., AAAI
    2021: mutants, "thompson"), BRP-NAS (Dudziak et al., NeurIPS 2020: "half_top"), WeakNAS (Wu et al., NeurIPS 2021) and
    NAS-BOWL (Ru et al., ICLR 2021: a Gaussian process on graphs).

    Args:
        space: what to search.
        rng: the source of all random draws.
        predictor: a registered name, or a callable ``(space, **predictor_options) -> Predictor``. It must be
            deterministic, or a loaded state goes on differently.
        predictor_options: arguments of the predictor.
        initial: scored random architectures before the first fit.
        candidates: how many are predicted for every ask (at least as many as asked for), before climbing.
        mutants: share of the candidates that are near the best, in [0, 1]; the others are random. One decision differs
            first; two or three do where that leaves room.
        parents: how many of the best architectures have neighbours and mutants among the candidates.
        climbs: how often the neighbours of the most promising candidates join them, at most; it ends when none of
            the new ones would be asked for.
        acquisition: "mean", "ucb", "thompson", "expected_improvement", or "half_top": half the best predictions, half
            uniform among the next ones of the predicted top.
        top: width of the predicted top of "half_top".
        targets: what the predictor is fitted to: the "scores" themselves, "clipped" from below so that the worst labels
            do not rule the fit, or "ranks", the normal scores of their order.
        every: labels between fits, at least.
        growth: factor between the numbers of labels of successive fits, at least.

    Raises:
        GraphnasError: unknown predictor or acquisition, or an argument out of range.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        predictor: str | Callable[..., Predictor] = "surrogate",
        predictor_options: Mapping[str, Any] | None = None,
        initial: int = 10,
        candidates: int = 800,
        mutants: float = 0.6,
        parents: int = 10,
        climbs: int = 5,
        acquisition: str = "ucb",
        top: int = 20,
        targets: str = "clipped",
        every: int = 1,
        growth: float = 1.05,
    ) -> None:
        if acquisition not in (*ACQUISITIONS, HALF_TOP):
            raise unknown("acquisition", acquisition, (*ACQUISITIONS, HALF_TOP))
        if targets not in TARGETS:
            raise unknown("targets", targets, TARGETS)
        if candidates < 1 or parents < 1 or top < 1 or climbs < 0 or not 0 <= mutants <= 1:
            raise GraphnasError(
                "predictor-guided search needs candidates >= 1, parents >= 1, top >= 1, climbs >= 0 and "
                f"0 <= mutants <= 1, not {candidates}, {parents}, {top}, {climbs} and {mutants}"
            )
        learner = make_learner(Predictor, predictor, space, predictor_options)  # type: ignore[type-abstract]
        super().__init__(space, rng, learner, initial=initial, every=every, growth=growth, keep=parents)
        self.candidates = candidates
        self.mutants = mutants
        self.climbs = climbs
        self.acquisition = acquisition
        self.top = top
        self.targets = targets
        self._far: dict[str, Architecture] = {}  # random candidates, the oldest first
        self._best = 0.0  # the greatest target of the last fit

    def _targets(self, count: int) -> Scores:
        targets = TARGETS[self.targets](np.array(self.labels.scores[:count]))
        self._best = float(targets.max())
        return targets

    def _propose(self, n: int) -> list[Architecture]:
        size = max(n, self.candidates)
        pool = self._pool(size)
        if not pool:
            return self._random(n)
        candidates = list(pool.values())
        values = self._hopeful_values(candidates)
        for _ in range(self.climbs):
            order = np.argsort(-values, kind="stable")[: max(n, _FRONT)]
            found = self._near([candidates[i] for i in order.tolist()], pool, size)
            if not found:
                break
            pool.update(found)
            candidates += found.values()
            bar = values[order[:n]].min()
            values = np.concatenate([values, self._hopeful_values(list(found.values()))])
            if not (values[-len(found) :] > bar).any():
                break
        order = np.argsort(-values, kind="stable")
        chosen = half_top(order, n, self.top, self.rng) if self.acquisition == HALF_TOP else order[:n]
        return [candidates[i] for i in chosen.tolist()]

    def _hopeful_values(self, candidates: list[Architecture]) -> np.ndarray:
        """The acquisition; what is likely to fail comes after all others."""
        values = self._values(self.learner.predict(candidates))
        hopeful = self.feasibility.hopeful(candidates)
        return values if hopeful.all() else np.where(hopeful, values, values - _LATE)

    def _values(self, prediction: Prediction) -> np.ndarray:
        if self.acquisition == HALF_TOP:
            return prediction.mean
        return ACQUISITIONS[self.acquisition](prediction, self._best, self.rng)

    def _pool(self, size: int) -> dict[str, Architecture]:
        """Distinct unknown candidates by key."""
        near = round(size * self.mutants)
        pool = self._near(self.labels.best, {}, near)
        pool.update(self._unknown(near - len(pool), lambda: self._mutant(self.labels.best), pool))
        self._renew(size - len(pool), pool)
        return {**pool, **self._far}

    def _near(
        self, centres: Iterable[Architecture], known: Mapping[str, Architecture], limit: int
    ) -> dict[str, Architecture]:
        """Neighbours of the centres that are neither told nor ``known``; at most ``limit``, those of the first centres."""
        found: dict[str, Architecture] = {}
        for centre in centres:
            if len(found) >= limit:
                break
            new: dict[str, Architecture] = {}
            for architecture in self.space.neighbours(centre):
                key = self.space.key(architecture)
                if key not in self.labels and key not in known and key not in found:
                    new.setdefault(key, architecture)
            keys = list(new)
            if len(found) + len(keys) > limit:
                keys = [keys[i] for i in self.rng.choice(len(keys), limit - len(found), replace=False).tolist()]
            found.update((key, new[key]) for key in keys)
        return found

    def _renew(self, size: int, near: Mapping[str, Architecture]) -> None:
        """Replace the random candidates that are told, near or the oldest, until there are ``size`` of them."""
        far = {key: a for key, a in self._far.items() if key not in self.labels and key not in near}
        kept = list(far)[max(0, len(far) - round(size * (1 - _RENEWED))) :]
        self._far = {key: far[key] for key in kept}
        self._far.update(self._unknown(size - len(kept), lambda: self.space.sample(self.rng), {**near, **self._far}))

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "far": [list(self.space.encode(a)) for a in self._far.values()]}

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self._far = {self.space.key(a): a for a in map(self.space.decode, state["far"])}
