"""A product of categorical distributions over the decisions of a Space, moved by REINFORCE with Adam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphnas.space import Decisions, Space

_MAX_TRIES = 100


class CategoricalPolicy:
    """One categorical distribution for each decision, given by logits; invalid draws are rejected.

    Args:
        space: whose decisions it draws.
        learning_rate: of Adam (Kingma & Ba, 2015).
        entropy: weight of the entropy in what is maximised.

    Attributes:
        logits: ``[choices, widest radix]``, minus infinity where a choice has no such option.
    """

    def __init__(self, space: Space, learning_rate: float, entropy: float) -> None:
        self.space = space
        self.learning_rate = learning_rate
        self.entropy = entropy
        open_ = np.arange(max(space.radices)) < np.array(space.radices)[:, None]
        self.logits = np.where(open_, 0.0, -np.inf)
        self._first = np.zeros_like(self.logits)
        self._second = np.zeros_like(self.logits)
        self._steps = 0

    def probabilities(self) -> np.ndarray:
        """``[choices, widest radix]``; every row sums to 1."""
        weights = np.exp(self.logits - self.logits.max(1, keepdims=True))
        return np.asarray(weights / weights.sum(1, keepdims=True))

    def mode(self) -> Decisions:
        """The most probable option of every decision (valid or not)."""
        return tuple(self.logits.argmax(1).tolist())

    def draw(self, rng: np.random.Generator, n: int) -> list[Decisions]:
        """``n`` valid draws; uniform ones in place of those that the rejection of invalid draws does not find."""
        space = self.space
        # The last open option takes what rounding leaves over.
        upper = np.where(np.arange(self.logits.shape[1]) < np.array(space.radices)[:, None] - 1, 0.0, np.inf)
        bounds = np.cumsum(self.probabilities(), axis=1) + upper
        made: list[Decisions] = []
        for _ in range(_MAX_TRIES):
            u = rng.random((n, len(bounds), 1))
            made += [d for d in map(tuple, (u >= bounds).sum(2).tolist()) if space.is_valid(d)]
            if len(made) >= n:
                return made[:n]
        return made + [space.encode(space.sample(rng)) for _ in range(n - len(made))]

    def gradient(self, decisions: Sequence[Decisions], advantages: np.ndarray) -> np.ndarray:
        """The mean of ``advantage * grad log p`` over draws, with respect to the logits (Williams, 1992)."""
        chosen = np.asarray(decisions)[:, :, None] == np.arange(self.logits.shape[1])
        return np.asarray(np.tensordot(advantages, chosen - self.probabilities(), axes=(0, 0)) / len(decisions))

    def entropy_gradient(self) -> np.ndarray:
        """The gradient of the summed entropies: ``-p_i (log p_i + H)`` for each row."""
        p = self.probabilities()
        log = np.log(np.where(p > 0, p, 1.0))
        return np.asarray(-p * (log - (p * log).sum(1, keepdims=True)))

    def step(self, decisions: Sequence[Decisions], rewards: np.ndarray) -> None:
        """One step of Adam up the expected reward plus the weighted entropy.

        With two draws or more, the mean reward of the others is taken off each reward; this leaves the expected gradient as
        it is, and much less variance (Kool, van Hoof & Welling, 2019).
        """
        n = len(rewards)
        advantages = (rewards - rewards.mean()) * n / (n - 1) if n > 1 else rewards
        g = self.gradient(decisions, advantages) + self.entropy * self.entropy_gradient()
        self._steps += 1
        self._first = 0.9 * self._first + 0.1 * g
        self._second = 0.999 * self._second + 0.001 * g**2
        first = self._first / (1 - 0.9**self._steps)
        second = self._second / (1 - 0.999**self._steps)
        self.logits = self.logits + self.learning_rate * first / (np.sqrt(second) + 1e-8)

    def state(self) -> dict[str, Any]:
        """All that the next draw and step depend on, as JSON values."""
        open_ = np.isfinite(self.logits)
        arrays = {"logits": self.logits, "first": self._first, "second": self._second}
        return {"steps": self._steps, **{name: array[open_].tolist() for name, array in arrays.items()}}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        open_ = np.isfinite(self.logits)
        for array, name in ((self.logits, "logits"), (self._first, "first"), (self._second, "second")):
            array[open_] = state[name]
        self._steps = state["steps"]
