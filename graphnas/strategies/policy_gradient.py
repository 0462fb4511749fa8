"""REINFORCE over the decisions of a space (Williams, 1992; Zoph & Le, ICLR 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.space import Space
from graphnas.strategies.base import Strategy, Trial
from graphnas.strategies.policies import make_policy

_OPTIONS: dict[str, dict[str, Any]] = {
    "lstm": {"learning_rate": 5e-3},
    "product": {"learning_rate": 0.3, "adaptive": False},
}


class PolicyGradient(Strategy):
    """A policy over the decisions, moved along ``advantage * grad log p``.

    The advantage is the score less an exponential moving average, divided by the running standard deviation of the
    scores, so that the learning rate does not depend on the units. Invalid draws are rejected and leave no gradient;
    the policy is thus the distribution conditioned on validity, up to its normaliser.

    Args:
        space: what to search.
        rng: the source of all random draws.
        policy: "product" (independent categorical distributions) or "lstm" (the controller of Zoph & Le).
        policy_options: further arguments of ``ProductPolicy`` or ``RecurrentPolicy``.
        learning_rate: step of the logits for the product (0.3 by default), of Adam for the LSTM (5e-3).
        decay: of the moving averages of score and squared deviation.
        entropy: weight of the gradient of the policy's entropy, which keeps it from collapsing.
        patience: a policy that proposed this many known architectures in a row has settled; it starts anew.

    Raises:
        GraphnasError: unknown policy, or an argument out of range.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        learning_rate: float | None = None,
        decay: float = 0.9,
        entropy: float = 0.1,
        patience: int = 100,
        policy: str = "product",
        policy_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(space, rng)
        if not 0 <= decay < 1:
            raise GraphnasError(f"policy gradient needs 0 <= decay < 1, not {decay}")
        given = {**_OPTIONS.get(policy, {}), "entropy": entropy, **(policy_options or {})}
        if learning_rate is not None:
            given["learning_rate"] = learning_rate
        self.policy = make_policy(policy, space, rng, given)
        self.decay = decay
        self.patience = patience
        self._known = 0
        self._baseline: float | None = None
        self._variance = 0.0

    def ask(self, n: int) -> list[Architecture]:
        """``n`` draws from the policy."""
        return [Architecture.of_space(self.space, d) for d in self.policy.sample(n, self.rng).decisions]

    def tell(self, trials: Sequence[Trial]) -> None:
        """One step along the mean gradient of the trials; failed trials count as the worst seen deviation."""
        if self._settled(trials) or not trials:
            return
        advantages = np.array([self._advantage(trial.score) for trial in trials])
        self.policy.step([self.space.encode(trial.architecture) for trial in trials], advantages)

    def _settled(self, trials: Sequence[Trial]) -> bool:
        for trial in trials:
            self._known = self._known + 1 if trial.status == "duplicate" else 0
        if self._known < self.patience:
            return False
        self._known = 0
        self.policy.reset(self.rng)
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
        policy = {name: array.tolist() for name, array in self.policy.state_dict().items()}
        return {"policy": policy, "baseline": self._baseline, "variance": self._variance, "known": self._known}

    def _load(self, state: dict[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self._baseline = state["baseline"]
        self._variance = state["variance"]
        self._known = state["known"]
