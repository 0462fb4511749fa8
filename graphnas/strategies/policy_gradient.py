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

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


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
        # One row a decision, padded to the longest with a logit so low that its probability is 0.
        self._start = np.full((len(space.radices), max(space.radices, default=1)), -1e9)
        for row, radix in zip(self._start, space.radices, strict=True):
            row[:radix] = 0.0
        self._rows = np.arange(len(space.radices))
        self._last = np.arange(self._start.shape[1]) >= np.array(space.radices, dtype=np.int64)[:, None] - 1
        self._baseline: float | None = None
        self._variance = 0.0
        self._set_logits(self._start.copy())

    def _set_logits(self, logits: Array) -> None:
        self._logits = logits
        shifted = logits - logits.max(axis=1, keepdims=True)
        weights = np.exp(shifted)
        total = weights.sum(axis=1, keepdims=True)
        self._policy = weights / total
        self._log_policy = shifted - np.log(total)
        self._upto = self._policy.cumsum(axis=1)
        self._upto[self._last] = np.inf  # rounding may leave the sum a little below 1

    @property
    def logits(self) -> list[list[float]]:
        """For each decision the logits of its options."""
        return [row[:radix].tolist() for row, radix in zip(self._logits, self.space.radices, strict=True)]

    @logits.setter
    def logits(self, values: Sequence[Sequence[float]]) -> None:
        logits = self._start.copy()
        for row, given in zip(logits, values, strict=True):
            row[: len(given)] = given
        self._set_logits(logits)

    def probabilities(self) -> list[list[float]]:
        """The softmax of the logits: for each decision the probability of its options."""
        return [row[:radix].tolist() for row, radix in zip(self._policy, self.space.radices, strict=True)]

    def ask(self, n: int) -> list[Architecture]:
        """``n`` draws from the policy."""
        return [Architecture.of_space(self.space, self._draw()) for _ in range(n)]

    def _draw(self) -> Decisions:
        for _ in range(_MAX_TRIES):
            made = tuple((self._upto <= self.rng.random(len(self._rows))[:, None]).sum(axis=1).tolist())
            if self.space.is_valid(made):
                return made
        # The policy has settled on invalid decisions: go on from a valid architecture, whose score pulls it back.
        return self.space.encode(self.space.sample(self.rng))

    def tell(self, trials: Sequence[Trial]) -> None:
        """One ascent step along the mean gradient of the trials; failed trials count as the worst seen deviation."""
        if self._settled(trials) or not trials:
            return
        policy = self._policy
        step = np.zeros_like(policy)
        for trial in trials:
            advantage = self._advantage(trial.score)
            step -= advantage * policy
            step[self._rows, self.space.encode(trial.architecture)] += advantage
        step /= len(trials)
        if self.entropy:
            log = self._log_policy
            # d entropy / d logit_i = -p_i (log p_i + H)
            step -= self.entropy * policy * (log - (policy * log).sum(axis=1, keepdims=True))
        self._set_logits(self._logits + self.learning_rate * step)

    def _settled(self, trials: Sequence[Trial]) -> bool:
        for trial in trials:
            self._known = self._known + 1 if trial.status == "duplicate" else 0
        if self._known < self.patience:
            return False
        self._known = 0
        self._set_logits(self._start.copy())
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
            "logits": self.logits,
            "baseline": self._baseline,
            "variance": self._variance,
            "known": self._known,
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.logits = state["logits"]
        self._baseline = state["baseline"]
        self._variance = state["variance"]
        self._known = state["known"]
