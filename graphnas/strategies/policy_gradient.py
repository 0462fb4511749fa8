"""REINFORCE over the decisions of a space (Williams, 1992; Zoph & Le, ICLR 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space
from graphnas.strategies.base import Strategy, Trial

_MAX_TRIES = 10_000


class PolicyGradient(Strategy):
    """One categorical distribution for each decision, moved along ``advantage * grad log p``.

    The advantage is the score less an exponential moving average, divided by the running standard deviation of the
    scores, so that the learning rate does not depend on the units. Invalid draws are rejected and leave no gradient;
    the policy is thus that of the product distribution conditioned on validity, up to its normaliser.

    Args:
        space: what to search.
        rng: the source of all random draws.
        learning_rate: step of the logits.
        decay: of the moving averages of score and squared deviation.
        entropy: weight of the gradient of the policy's entropy, which keeps it from collapsing.
        patience: a policy that proposed this many known architectures in a row has settled; it starts anew.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        learning_rate: float = 0.3,
        decay: float = 0.9,
        entropy: float = 0.1,
        patience: int = 100,
    ) -> None:
        super().__init__(space, rng)
        if learning_rate <= 0 or not 0 <= decay < 1 or entropy < 0:
            raise GraphnasError(
                "policy gradient needs learning_rate > 0, 0 <= decay < 1 and entropy >= 0, "
                f"not {learning_rate}, {decay} and {entropy}"
            )
        self.learning_rate = learning_rate
        self.decay = decay
        self.entropy = entropy
        self.patience = patience
        self._known = 0
        self.logits = [[0.0] * radix for radix in space.radices]
        self._baseline: float | None = None
        self._variance = 0.0

    def probabilities(self) -> list[list[float]]:
        """The softmax of the logits: for each decision the probability of its options."""
        return [_softmax(row) for row in self.logits]

    def ask(self, n: int) -> list[Architecture]:
        """``n`` draws from the policy."""
        policy = self.probabilities()
        return [Architecture.of_space(self.space, self._draw(policy)) for _ in range(n)]

    def _draw(self, policy: list[list[float]]) -> Decisions:
        for _ in range(_MAX_TRIES):
            made = tuple([_pick(row, u) for row, u in zip(policy, self.rng.random(len(policy)).tolist(), strict=True)])
            if self.space.is_valid(made):
                return made
        # The policy has settled on invalid decisions: go on from a valid architecture, whose score pulls it back.
        return self.space.encode(self.space.sample(self.rng))

    def tell(self, trials: Sequence[Trial]) -> None:
        """One ascent step along the mean gradient of the trials; failed trials count as the worst seen deviation."""
        if self._settled(trials):
            return
        policy = self.probabilities()
        steps = [[0.0] * len(row) for row in policy]
        for trial in trials:
            advantage = self._advantage(trial.score)
            for step, row, chosen in zip(steps, policy, self.space.encode(trial.architecture), strict=True):
                for i, p in enumerate(row):
                    step[i] += advantage * ((i == chosen) - p)
        scale = self.learning_rate / max(1, len(trials))
        for logits, step, row in zip(self.logits, steps, policy, strict=True):
            mean_log = sum(p * math.log(p) for p in row if p > 0)
            for i, p in enumerate(row):
                # d entropy / d logit_i = -p_i (log p_i + H)
                spread = -p * (math.log(p) - mean_log) if p > 0 else 0.0
                logits[i] += scale * step[i] + self.learning_rate * self.entropy * spread

    def _settled(self, trials: Sequence[Trial]) -> bool:
        for trial in trials:
            self._known = self._known + 1 if trial.status == "duplicate" else 0
        if self._known < self.patience:
            return False
        self._known = 0
        self.logits = [[0.0] * radix for radix in self.space.radices]
        return True

    def _advantage(self, score: float) -> float:
        if score != score:
            return -1.0 if self._baseline is not None else 0.0
        if self._baseline is None:
            self._baseline = score
            return 0.0
        deviation = score - self._baseline
        self._variance = self.decay * self._variance + (1 - self.decay) * deviation**2
        self._baseline = self.decay * self._baseline + (1 - self.decay) * score
        return deviation / math.sqrt(self._variance) if self._variance > 0 else 0.0

    def _state(self) -> dict[str, Any]:
        return {
            "logits": [list(row) for row in self.logits],
            "baseline": self._baseline,
            "variance": self._variance,
            "known": self._known,
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.logits = [list(row) for row in state["logits"]]
        self._baseline = state["baseline"]
        self._variance = state["variance"]
        self._known = state["known"]


def _softmax(row: Sequence[float]) -> list[float]:
    top = max(row)
    weights = [math.exp(v - top) for v in row]
    total = sum(weights)
    return [w / total for w in weights]


def _pick(row: Sequence[float], u: float) -> int:
    for i, p in enumerate(row):
        u -= p
        if u < 0:
            return i
    return len(row) - 1
