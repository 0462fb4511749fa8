"""The controller of GraphNAS, as published: a baseline (Gao, Yang, Zhang, Zhou & Hu, IJCAI 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space
from graphnas.strategies.base import Trial
from graphnas.strategies.policy_gradient import PolicyGradient
from graphnas.strategies.recurrent_policy import RecurrentPolicy


class GraphNASController(PolicyGradient):
    """One LSTM writes the whole architecture; REINFORCE with a moving average of the rewards as the baseline.

    The reward of an architecture is ``score / unit + entropy * H``, where H is the sum of the entropies of the decisions that
    the controller made on the way (a bonus, not differentiated). The advantage is the reward less the moving average, which
    the first reward starts. Unlike in ``PolicyGradient`` it is not divided by its deviation, and the entropy takes part in
    the reward only. A failed trial has the lowest reward so far.

    Args:
        space: what to search.
        rng: the source of all random draws.
        hidden: units of the LSTM.
        learning_rate: of Adam.
        decay: of the moving average.
        entropy: weight of the entropy in the reward.
        temperature: logits are divided by it.
        tanh_constant: then limited to this; None does not limit them.
        unit: what counts as 1 in the reward; 100 for accuracies in %.
        patience: a controller that proposed this many known architectures in a row has settled; it starts anew.

    Raises:
        GraphnasError: an argument out of range, or a space without decisions.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        hidden: int = 100,
        learning_rate: float = 3.5e-4,
        decay: float = 0.95,
        entropy: float = 1e-4,
        temperature: float = 5.0,
        tanh_constant: float | None = 2.5,
        unit: float = 100.0,
        patience: int = 100,
    ) -> None:
        if not (0 < unit < np.inf and 0 <= entropy < np.inf):
            raise GraphnasError(f"GraphNAS needs a finite unit > 0 and entropy >= 0, not {unit} and {entropy}")
        options = {"hidden": hidden, "temperature": temperature, "tanh_constant": tanh_constant, "clip": None}
        super().__init__(space, rng, learning_rate, decay, 0.0, patience, "lstm", options)
        self.unit = unit
        self.entropy = entropy
        self._lowest: float | None = None

    def tell(self, trials: Sequence[Trial]) -> None:
        """One step along the mean gradient of the trials."""
        if self._settled(trials) or not trials:
            return
        made = [self.space.encode(trial.architecture) for trial in trials]
        bonus = self.entropy * self.path_entropies(made)
        advantages = [self._advantage_of(t.score / self.unit + b) for t, b in zip(trials, bonus.tolist(), strict=True)]
        self.policy.step(made, np.array(advantages))

    def path_entropies(self, decisions: Sequence[Decisions]) -> np.ndarray:
        """H of each: the entropies in nats that its decisions had given those before them, summed, ``[n]``."""
        import torch

        assert isinstance(self.policy, RecurrentPolicy)
        with torch.no_grad():
            return np.asarray(self.policy.log_probs(decisions)[1].double().sum(1).numpy())

    def _advantage_of(self, reward: float) -> float:
        if reward != reward:
            if self._lowest is None or self._baseline is None:
                return 0.0
            reward = self._lowest
        self._lowest = reward if self._lowest is None else min(self._lowest, reward)
        if self._baseline is None:
            self._baseline = reward
        advantage = reward - self._baseline
        self._baseline = self.decay * self._baseline + (1 - self.decay) * reward
        return advantage

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "lowest": self._lowest}

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self._lowest = state["lowest"]
