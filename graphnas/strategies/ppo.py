"""PPO: a policy that takes several clipped steps on every batch of trials (Schulman et al., arXiv 1707.06347, 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space
from graphnas.strategies.base import Strategy, Trial
from graphnas.strategies.policies import make_policy
from graphnas.strategies.policy import leave_one_out

_OPTIONS: dict[str, dict[str, Any]] = {"lstm": {"learning_rate": 5e-3}, "product": {"learning_rate": 0.05}}


class PPO(Strategy):
    """The policy search of MnasNet (Tan et al., CVPR 2019) over the decisions of any Space.

    Trials are collected until there are ``collect``; then ``epochs`` steps climb the clipped surrogate

        mean of min(r A, clip(r, 1 - clip, 1 + clip) A),  r = p(decisions) / p_old(decisions),

    where ``p_old`` is the policy from which they were drawn. Advantages A are the scores less the mean of the others of
    their batch, divided by the standard deviation; a failed trial counts as the worst score of its batch. The first step is that of
    REINFORCE. There is no value network: a search has no states between which rewards could be told apart.

    Args:
        space: what to search.
        rng: the source of all random draws.
        policy: "product" (independent categorical distributions) or "lstm" (the controller of Zoph & Le, ICLR 2017).
        policy_options: further arguments of ``ProductPolicy`` or ``RecurrentPolicy``.
        learning_rate: of Adam (0.05 for the product by default, 5e-3 for the LSTM).
        collect: trials of a batch, at least 2.
        epochs: steps on each batch.
        clip: by how much a ratio may leave 1 before its trial loses its gradient, in (0, 1).
        entropy: weight of the policy's entropy in what is climbed.
        patience: a policy that proposed this many known architectures in a row has settled; it starts anew.

    Raises:
        GraphnasError: unknown policy, or an argument out of range.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        policy: str = "product",
        policy_options: Mapping[str, Any] | None = None,
        learning_rate: float | None = None,
        collect: int = 20,
        epochs: int = 4,
        clip: float = 0.2,
        entropy: float = 0.02,
        patience: int = 100,
    ) -> None:
        super().__init__(space, rng)
        if collect < 2 or epochs < 1 or not 0 < clip < 1:
            raise GraphnasError(
                f"ppo needs collect >= 2, epochs >= 1 and 0 < clip < 1, not {collect}, {epochs} and {clip}"
            )
        given = {**_OPTIONS.get(policy, {}), "entropy": entropy, **(policy_options or {})}
        if learning_rate is not None:
            given["learning_rate"] = learning_rate
        self.policy = make_policy(policy, space, rng, given)
        self.collect = collect
        self.epochs = epochs
        self.clip = clip
        self.patience = patience
        self._known = 0
        self._batch: list[tuple[Decisions, float]] = []
        self._drawn: list[Decisions] = []

    def ask(self, n: int) -> list[Architecture]:
        """``n`` draws from the policy, which moves only when a batch is full."""
        if len(self._drawn) < n:  # many draws at once cost little more than one
            self._drawn += self.policy.sample(max(n, self.collect), self.rng).decisions
        asked, self._drawn = self._drawn[:n], self._drawn[n:]
        return [Architecture.of_space(self.space, d) for d in asked]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Collect the trials; a full batch moves the policy."""
        for trial in trials:
            self._known = self._known + 1 if trial.status == "duplicate" else 0
            self._batch.append((self.space.encode(trial.architecture), trial.score))
        if self._known >= self.patience:
            self._known, self._batch, self._drawn = 0, [], []
            self.policy.reset(self.rng)
        elif len(self._batch) >= self.collect:
            decisions, scores = [d for d, _ in self._batch], np.array([score for _, score in self._batch])
            self._batch, self._drawn = [], []
            self._climb(decisions, advantages(scores))

    def _climb(self, decisions: Sequence[Decisions], advantage: np.ndarray) -> None:
        old = self.policy.log_prob(decisions)
        for _ in range(self.epochs):
            ratio = np.exp(self.policy.log_prob(decisions) - old)
            self.policy.step(decisions, surrogate_weights(ratio, advantage, self.clip))

    def _state(self) -> dict[str, Any]:
        policy = {name: array.tolist() for name, array in self.policy.state_dict().items()}
        batch = [[list(d), None if score != score else score] for d, score in self._batch]
        return {"policy": policy, "known": self._known, "batch": batch, "drawn": [list(d) for d in self._drawn]}

    def _load(self, state: dict[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self._known = state["known"]
        self._drawn = [tuple(d) for d in state["drawn"]]
        self._batch = [(tuple(d), float("nan") if score is None else score) for d, score in state["batch"]]


def surrogate_weights(ratio: np.ndarray, advantage: np.ndarray, clip: float) -> np.ndarray:
    """The derivative ``[n]`` of ``min(r A, clip(r, 1 - clip, 1 + clip) A)`` with respect to ``log r``.

    It is ``r A``, or 0 where the ratio has passed the limit on the side to which its advantage pulls (Schulman et al., 2017, eq. 7).
    """
    passed = np.where(advantage > 0, ratio > 1 + clip, ratio < 1 - clip)
    return np.where(passed, 0.0, ratio * advantage)


def advantages(scores: np.ndarray) -> np.ndarray:
    """Scores ``[n]`` less the mean of the others, in standard deviations; NaN counts as the worst, 0 where all are alike."""
    known = scores[~np.isnan(scores)]
    if not len(known):
        return np.zeros(len(scores))
    centred = leave_one_out(np.where(np.isnan(scores), known.min(), scores) - known.max())
    spread = centred.std()
    return centred / spread if spread > 0 else np.zeros(len(scores))
