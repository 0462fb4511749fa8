"""Guide-DAG search: sample edges and operations by weights that good samples raise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space
from graphnas.strategies.base import Strategy, Trial

_TRIES = 200


class GuideDag(Strategy):
    """Every option of every decision has a weight; a batch is sampled by them, and used options gain what their sample gained.

    After Chang et al., "Automatic Routability Predictor Development Using NAS", ICCAD 2021, who "sample edges from guide-DAGs
    and update their weights"; the paper's summary leaves the update open, and this is ours: with the scores s of all trials
    so far standardised by their mean m and deviation d,

        w[used options] <- w[used options] + rate * (s - m) / d        for each trial of the batch,

    and an option is drawn with probability ``(1 - floor) softmax(w / temperature) + floor / number of options``, so that none dies out.
    Samples that the space's rule refuses are drawn again: a refused draw moves no weight.

    Args:
        space: what to search.
        rng: the source of all random draws.
        rate: step of the weights.
        temperature: of the softmax.
        floor: share of the probability that is spread evenly, in [0, 1].
        warm: trials before the first update, drawn evenly; they count in it.

    Raises:
        GraphnasError: an argument out of range.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        rate: float = 0.3,
        temperature: float = 1.0,
        floor: float = 0.1,
        warm: int = 10,
    ) -> None:
        super().__init__(space, rng)
        if not (rate > 0 and temperature > 0 and 0 <= floor <= 1 and warm >= 2):
            raise GraphnasError(
                f"guide-DAG search needs rate > 0, temperature > 0, 0 <= floor <= 1 and warm >= 2, not {rate}, "
                f"{temperature}, {floor} and {warm}"
            )
        self.rate = rate
        self.temperature = temperature
        self.floor = floor
        self.warm = warm
        self.weights = [np.zeros(radix) for radix in space.radices]
        self._waiting: list[tuple[Decisions, float]] = []  # told before the first update
        self._known: set[str] = set()
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def probabilities(self) -> list[np.ndarray]:
        """Of the options of every decision."""
        made = []
        for w in self.weights:
            p = np.exp((w - w.max(initial=0.0)) / self.temperature)
            made.append((1 - self.floor) * p / p.sum() + self.floor / len(p))
        return made

    def ask(self, n: int) -> list[Architecture]:
        """``n`` samples, unknown ones as far as they are found."""
        upto = [np.cumsum(p) for p in self.probabilities()]
        found: dict[str, Architecture] = {}
        spare: list[Architecture] = []
        for _ in range(_TRIES * n):
            if len(found) == n:
                break
            draws = self.rng.random(len(upto))
            made = tuple(
                min(int(np.searchsorted(c, u, side="right")), len(c) - 1) for c, u in zip(upto, draws, strict=True)
            )
            if not self.space.is_valid(made):
                continue
            architecture = Architecture.of_space(self.space, made)
            key = self.space.key(architecture)
            if key in self._known or key in found:
                spare.append(architecture)
            else:
                found[key] = architecture
        made_up = [*found.values(), *spare][:n]
        return made_up or [self.space.sample(self.rng) for _ in range(n)]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Weights move by the standardised scores of the new trials; a failed trial counts as two deviations below the mean."""
        fresh: list[tuple[Decisions, float]] = []
        for trial in trials:
            if trial.status == "duplicate":
                continue
            self._known.add(trial.key)
            fresh.append((self.space.encode(trial.architecture), trial.score))
            if math.isfinite(trial.score):
                self._count += 1
                step = trial.score - self._mean
                self._mean += step / self._count
                self._squares += step * (trial.score - self._mean)
        self._waiting += fresh
        if self._count < self.warm or not self._squares > 0:
            return
        deviation = math.sqrt(self._squares / self._count)
        for decisions, score in self._waiting:
            gain = (score - self._mean) / deviation if math.isfinite(score) else -2.0
            for w, chosen in zip(self.weights, decisions, strict=True):
                w[chosen] += self.rate * gain
        self._waiting = []

    def _state(self) -> dict[str, Any]:
        return {
            "weights": [w.tolist() for w in self.weights],
            "waiting": [[list(d), None if math.isnan(s) else s] for d, s in self._waiting],
            "known": sorted(self._known),
            "moments": [self._count, self._mean, self._squares],
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.weights = [np.array(w, dtype=np.float64) for w in state["weights"]]
        self._waiting = [(tuple(d), math.nan if s is None else s) for d, s in state["waiting"]]
        self._known = set(state["known"])
        self._count, self._mean, self._squares = state["moments"]
