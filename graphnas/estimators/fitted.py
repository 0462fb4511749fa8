"""Noisy scores made smooth: a predictor that is fitted to the scores of another estimator, as an Estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.estimators.fidelity import Fidelity
from graphnas.prediction_table import Cost, PredictionTable
from graphnas.predictor import Predictor
from graphnas.search import trial_seed
from graphnas.space import Space
from graphnas.strategies.learned import make_learner
from graphnas.tasks.base import Task

_POOL = 10
_TRIES = 100


class FittedScores(Estimator):
    """Scores some architectures with a cheap, noisy estimator, fits a predictor to them, and predicts all others.

    A shared-weight score is the true one plus noise that differs between neighbouring architectures; a smooth function that is
    fitted to many of them averages the noise away (Chen, Xie et al., "Fitting the search space of weight-sharing NAS with
    graph convolutional networks", AAAI 2021). It works with the scores of any estimator: one-shot, few-shot, the angle.

    With several ``rounds``, the first one scores random architectures; each later one scores, of ten times as many random
    architectures, those that are predicted best, and the predictor is fitted to all scores so far.

    Args:
        base: the noisy estimator.
        predictor: a registered name, or a callable ``(space, **predictor_options) -> Predictor``.
        predictor_options: its arguments.
        samples: architectures that the base scores, in all rounds together.
        rounds: fits.
        seed: of the draws.

    Raises:
        GraphnasError: fewer than two samples a round, or an unknown predictor.
    """

    name = "fitted"
    batch = 64
    cheap = True

    def __init__(
        self,
        base: Estimator,
        predictor: str | Callable[..., Predictor] = "gcn",
        predictor_options: Mapping[str, Any] | None = None,
        *,
        samples: int = 1000,
        rounds: int = 1,
        seed: int = 0,
    ) -> None:
        if rounds < 1 or samples < 2 * rounds:
            raise GraphnasError(f"fitted scores need rounds >= 1 and 2 samples in each, not {rounds} and {samples}")
        self.base, self.space = base, base.space
        self.metric, self.maximise = f"fitted {base.metric}", base.maximise
        self._named = predictor if isinstance(predictor, str) else getattr(predictor, "__name__", repr(predictor))
        self.predictor_options = dict(predictor_options or {})
        self.predictor = make_learner(Predictor, predictor, self.space, self.predictor_options)  # type: ignore[type-abstract]
        self.samples, self.rounds, self.seed = samples, rounds, seed
        self.scored: list[tuple[Architecture, float]] = []

    @classmethod
    def of_options(cls, space: Space, task: Task, fidelity: Fidelity, **options: Any) -> FittedScores:
        """From what the command line takes; options that are not those of this estimator are the base's.

        The option ``base`` names it ("weight_sharing", "few_shot", "random_labels"); the first is the default.
        """
        own = {name: options.pop(name) for name in ("predictor", "samples", "rounds") if name in options}
        fitted = dict(options.pop("predictor_options", {}))
        base = registry.find("estimator", options.pop("base", "weight_sharing"))
        made = base.of_options(space, task, fidelity, **options)
        return cls(made, predictor_options=fitted, seed=options.get("seed", 0), **own)

    def fit(self) -> FittedScores:
        """Score the samples and fit, if that has not been done; the estimator itself.

        Raises:
            GraphnasError: the base gives fewer than two different finite scores.
        """
        if self.scored:
            return self
        rng = np.random.default_rng([self.seed, 23])
        known: set[str] = set()
        scored: list[tuple[Architecture, float]] = []
        sizes = [len(part) for part in np.array_split(np.arange(self.samples), self.rounds)]
        for number, size in enumerate(sizes):
            drawn = self._drawn(size if number == 0 else _POOL * size, known, rng)
            if number:
                drawn = PredictionTable.of(self.predictor, drawn).top(size) if drawn else []
            for architecture in drawn:
                known.add(_text(self.space, architecture))
                seed = trial_seed(self.seed, len(known))
                scored.append((architecture, self.base.evaluate(architecture, seed=seed).score))
            finite = [(a, score) for a, score in scored if np.isfinite(score)]
            self.predictor.fit([a for a, _ in finite], [score for _, score in finite])
        self.scored = scored
        return self

    def _drawn(self, count: int, known: set[str], rng: np.random.Generator) -> list[Architecture]:
        """Distinct random writings that are not known; fewer where the space has no more."""
        found: dict[str, Architecture] = {}
        for _ in range(_TRIES * count):
            if len(found) == count:
                break
            architecture = self.space.sample(rng)
            name = _text(self.space, architecture)
            if name not in known:
                found.setdefault(name, architecture)
        return list(found.values())

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        """The predicted score and its uncertainty (``std``); the seed makes no difference."""
        mean, std = self.fit().predictor.predict([architecture])
        return Evaluation(float(mean[0]), {"predicted": float(mean[0]), "std": float(std[0])})

    def table(self, cost: Cost | None = None) -> PredictionTable:
        """The predictions of every architecture of an enumerable space."""
        return PredictionTable.of(self.fit().predictor, self.space.enumerate(), cost)

    def test(self, architecture: Architecture, *, seed: int = 0) -> dict[str, float]:
        """What the base says."""
        return self.base.test(architecture, seed=seed)

    def __getstate__(self) -> dict[str, Any]:
        return self.fit().__dict__

    def describe(self) -> dict[str, Any]:
        """Settings that reproduce the estimates, as JSON values."""
        return {
            **super().describe(),
            "base": self.base.describe(),
            "predictor": self._named,
            "predictor_options": self.predictor_options,
            "samples": self.samples,
            "rounds": self.rounds,
            "seed": self.seed,
        }


def _text(space: Space, architecture: Architecture) -> str:
    return ",".join(map(str, space.encode(architecture)))
