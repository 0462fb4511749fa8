"""The policy without memory: one categorical distribution for each decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphnas.space import Decisions, Space
from graphnas.strategies.policy import Allowed, Policy, later_entropy, log_softmax, open_options, take

_CLOSED = -1e9
"""A logit so low that its probability is 0."""


class ProductPolicy(Policy):
    """Independent categorical distributions, given by logits that all start at 0.

    Args:
        space: whose decisions it draws.
        learning_rate: of Adam, or of plain ascent.
        entropy: weight of the entropy in what is maximised.
        allowed: see ``Policy``; a decision is then drawn among what is allowed, by the same logits.
        adaptive: steps of Adam; False takes plain steps, ``learning_rate * gradient``.

    Attributes:
        logits: ``[choices, widest radix]``, -1e9 where a choice has no such option.
    """

    def __init__(
        self,
        space: Space,
        learning_rate: float = 0.05,
        entropy: float = 1e-3,
        allowed: Allowed | None = None,
        adaptive: bool = True,
    ) -> None:
        super().__init__(space, learning_rate, entropy, allowed)
        self.adaptive = adaptive
        self._open = open_options(space)
        # The last option takes what rounding leaves over.
        self._last = np.arange(self.widest) >= np.array(space.radices, dtype=np.int64)[:, None] - 1
        self._rows = np.arange(len(space.radices))
        self.reset()

    def reset(self, rng: np.random.Generator | None = None) -> None:
        """All logits 0 again."""
        self.logits = np.where(self._open, 0.0, _CLOSED)
        self._first = np.zeros(self._open.shape)
        self._second = np.zeros(self._open.shape)
        self._steps = np.zeros((), dtype=np.int64)

    @property
    def logits(self) -> np.ndarray:
        """See the class."""
        return self._logits

    @logits.setter
    def logits(self, logits: np.ndarray) -> None:
        self._logits: np.ndarray = logits
        self._log = log_softmax(logits)
        self._probabilities: np.ndarray = np.exp(self._log)
        self._upto = self._probabilities.cumsum(axis=1)
        self._upto[self._last] = np.inf

    def probabilities(self) -> np.ndarray:
        """``[choices, widest radix]`` without a mask; every row sums to 1."""
        return self._probabilities

    def mode(self) -> Decisions:
        """The most probable option of every decision (valid or not)."""
        if self.allowed is None:
            return tuple(self._logits.argmax(1).tolist())
        made: Decisions = ()
        for row in self._logits:
            made = (*made, max(self._options(made), key=row.__getitem__))
        return made

    def log_prob(self, decisions: Sequence[Decisions]) -> np.ndarray:
        """Log-probabilities ``[n]``, before rejection; minus infinity for what ``allowed`` excludes."""
        if not len(decisions):
            return np.zeros(0)
        made = np.asarray(decisions, dtype=np.int64)
        masks = self._masks(decisions)
        if masks is None:
            return np.asarray(self._log[self._rows, made].sum(1))
        log = log_softmax(np.where(masks, self._logits, _CLOSED))
        chosen = np.take_along_axis(log, made[:, :, None], 2)[:, :, 0]
        inside = np.take_along_axis(masks, made[:, :, None], 2)[:, :, 0]
        return np.asarray(np.where(inside, chosen, -np.inf).sum(1))

    def _draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        uniform = rng.random((n, len(self._rows)))
        if self.allowed is None:
            made = (self._upto <= uniform[:, :, None]).sum(axis=2)
            return made, self._log[self._rows, made].sum(1)
        decisions = [self._masked(row) for row in uniform.tolist()]
        return np.array(decisions, dtype=np.int64).reshape(n, -1), self.log_prob(decisions)

    def _masked(self, uniform: Sequence[float]) -> Decisions:
        made: Decisions = ()
        for p, u in zip(self._probabilities, uniform, strict=True):
            options = self._options(made)
            upto = np.cumsum(p[options])
            place = int((upto[:-1] <= u * upto[-1]).sum())
            made = (*made, options[place])
        return made

    def gradient(self, decisions: Sequence[Decisions], weights: np.ndarray) -> np.ndarray:
        """The gradient ``[choices, widest radix]`` of ``mean(weights * log p) + entropy * H`` with respect to the logits.

        That of ``log p`` is ``1[chosen] - p`` for each decision, that of its entropy ``-p_i (log p_i + H)``. With a mask the
        entropy is that of the decisions after a draw, in the mean over draws, and its gradient an unbiased estimate.
        """
        made, n = np.asarray(decisions, dtype=np.int64), len(decisions)
        masks = self._masks(decisions)
        if masks is None:
            total = -weights.sum() * self._probabilities
            np.add.at(total, (self._rows, made), weights[:, None])
            total /= n
            if self.entropy:
                total += self.entropy * _entropy_slope(self._log, self._probabilities)
            return np.asarray(total)
        log = log_softmax(np.where(masks, self._logits, _CLOSED))
        p = np.exp(log)
        each = weights[:, None] + self.entropy * later_entropy(-(p * log).sum(-1))
        total = -(each[:, :, None] * p).sum(0)
        np.add.at(total, (self._rows, made), each)
        return np.asarray(total / n + self.entropy * _entropy_slope(log, p).mean(0))

    def _climb(self, decisions: Sequence[Decisions], weights: np.ndarray) -> None:
        g = self.gradient(decisions, weights)
        if self.adaptive:
            self._steps = self._steps + 1
            self._first = 0.9 * self._first + 0.1 * g
            self._second = 0.999 * self._second + 0.001 * g**2
            first = self._first / (1 - 0.9**self._steps)
            g = first / (np.sqrt(self._second / (1 - 0.999**self._steps)) + 1e-8)
        self.logits = self._logits + self.learning_rate * g

    def state_dict(self) -> dict[str, np.ndarray]:
        """Logits, both moments of Adam and the number of its steps."""
        return {"logits": self._logits, "first": self._first, "second": self._second, "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of ``state_dict``; entries may be nested lists.

        Raises:
            GraphnasError: an entry is missing, or of another shape.
        """
        logits, first, second, steps = (take(state, name, like) for name, like in self.state_dict().items())
        self.logits, self._first, self._second, self._steps = logits, first, second, steps


def _entropy_slope(log: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The gradient of the entropies along the last axis with respect to logits: ``-p_i (log p_i + H)``."""
    return np.asarray(-p * (log - (p * log).sum(-1, keepdims=True)))
