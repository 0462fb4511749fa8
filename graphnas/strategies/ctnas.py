"""CTNAS: a policy rewarded by winning comparisons (Chen et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.predictor import Comparator
from graphnas.space import Decisions, Space
from graphnas.strategies.comparing import ComparingStrategy, LearnsPairs, confident_pairs, strongest
from graphnas.strategies.policies import make_policy
from graphnas.strategies.policy import leave_one_out

_EXPLORE_STEPS = 20
"""Optimiser steps of the comparator for each set of pseudo-labels."""
_LEARNING_RATES = {"lstm": 1e-3, "product": 0.05}


class CTNAS(ComparingStrategy):
    """REINFORCE with the reward p(a beats the baseline), by a comparator fitted to the labels so far.

    After every fit the policy takes ``steps`` steps without any new label. Every ``baseline_every`` of them the baseline
    becomes the strongest of some draws and of earlier baselines, so the target gets harder as the policy
    improves; every ``explore_every`` the comparator learns the pairs of which it is surest as if they were labelled.
    Then the draws of the policy that win most comparisons are evaluated. The published policy is the LSTM.

    Args:
        space: what to search.
        rng: the source of all random draws.
        comparator: a registered name, or a callable ``(space, **comparator_options) -> Comparator``. It must be
            deterministic, or a loaded state goes on differently. Without ``learn_pairs`` it learns no pseudo-labels.
        comparator_options: arguments of the comparator.
        initial: scored random architectures before the first fit.
        steps: policy steps after every fit.
        batch: draws in a policy step.
        policy: "lstm" (``RecurrentPolicy``) or "product" (``ProductPolicy``).
        policy_options: further arguments of the policy, such as ``hidden`` or ``temperature``.
        learning_rate: of the policy; by default 1e-3 for the LSTM and 0.05 for the product.
        entropy: weight of the policy's entropy.
        baseline_every: policy steps between choices of the baseline.
        baseline_samples: draws that compete to be the baseline.
        history: how many earlier baselines compete too.
        explore_every: policy steps between pseudo-labellings; 0 for none.
        explore_pairs: pairs that are pseudo-labelled at a time, the surest of four times as many.
        candidates: draws that are ranked for every ask.
        every: labels between fits, at least.
        growth: factor between the numbers of labels of successive fits, at least.

    Raises:
        GraphnasError: unknown comparator or policy, or an argument out of range.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        comparator: str | Callable[..., Comparator] = "nac",
        comparator_options: Mapping[str, Any] | None = None,
        initial: int = 50,
        steps: int = 300,
        batch: int = 16,
        policy: str = "lstm",
        policy_options: Mapping[str, Any] | None = None,
        learning_rate: float | None = None,
        entropy: float = 1e-3,
        baseline_every: int = 50,
        baseline_samples: int = 10,
        history: int = 10,
        explore_every: int = 100,
        explore_pairs: int = 64,
        candidates: int = 100,
        every: int = 10,
        growth: float = 1.3,
    ) -> None:
        counts = (steps, batch, baseline_every, baseline_samples, history, explore_pairs, candidates)
        if min(counts) < 1 or explore_every < 0:
            raise GraphnasError(
                "ctnas needs steps, batch, baseline_every, baseline_samples, history, explore_pairs and candidates of at "
                f"least 1 and explore_every >= 0, not {counts} and {explore_every}"
            )
        labels: dict[str, Any] = {"initial": initial, "every": every, "growth": growth, "keep": history}
        super().__init__(space, rng, comparator, comparator_options, **labels)
        self.steps = steps
        self.batch = batch
        self.baseline_every = baseline_every
        self.baseline_samples = baseline_samples
        self.history = history
        self.explore_every = explore_every
        self.explore_pairs = explore_pairs
        self.candidates = candidates
        rate = _LEARNING_RATES.get(policy, 0.0) if learning_rate is None else learning_rate
        given = {"learning_rate": rate, "entropy": entropy, **(policy_options or {})}
        self.policy = make_policy(policy, space, rng, given)
        self.baselines: list[Architecture] = []
        self._pseudo: list[tuple[list[Decisions], list[Decisions], list[float]]] = []
        self._rewards: dict[str, float] = {}

    @property
    def baseline(self) -> Architecture:
        """What draws are compared with: the last of ``baselines``."""
        return self.baselines[-1]

    @property
    def references(self) -> list[Architecture]:
        """What candidates are compared with: the baselines and the best labelled architectures."""
        return [*self.baselines, *self.labels.best]

    # -- after a fit ----------------------------------------------------------------------------

    def _fit(self, count: int) -> None:
        super()._fit(count)
        self._pseudo = []
        self._rewards = {}

    def _fitted(self) -> None:
        self.choose_baseline()
        for step in range(1, self.steps + 1):
            made = self.policy.sample(self.batch, self.rng).decisions
            self.policy.step(made, leave_one_out(self.rewards(made)))
            if step % self.baseline_every == 0:
                self.choose_baseline()
            if self.explore_every and step % self.explore_every == 0:
                self._explore()

    def rewards(self, made: Sequence[Decisions]) -> np.ndarray:
        """The probability ``[n]`` of each to beat the baseline; known keys are not compared again."""
        architectures = self._decode(made)
        keys = [self.space.key(a) for a in architectures]
        new = {k: a for k, a in zip(keys, architectures, strict=True) if k not in self._rewards}
        p = self.learner.probability(list(new.values()), [self.baseline] * len(new))
        self._rewards.update(zip(new, p.tolist(), strict=True))
        return np.array([self._rewards[k] for k in keys])

    def choose_baseline(self) -> None:
        """The strongest of earlier baselines and new draws becomes the baseline (the first one is a single draw)."""
        n = self.baseline_samples if self.baselines else 1
        # The current one comes first: it stays where a new one is only as strong.
        competing = {self.space.key(a): a for a in reversed(self.baselines)}
        for a in self._drawn(n):
            competing.setdefault(self.space.key(a), a)
        found = list(competing.values())
        winner = found[strongest(self.learner, found)]
        if not self.baselines or winner is not self.baseline:
            self.baselines = [*(a for a in self.baselines if a is not winner), winner][-self.history :]
            self._rewards = {}

    def _explore(self) -> None:
        if not isinstance(self.learner, LearnsPairs):
            return
        size = 4 * self.explore_pairs
        made = self.policy.sample(max(2, size // 2), self.rng).decisions
        first = self.rng.integers(len(made), size=size)
        second = (first + self.rng.integers(1, len(made), size=size)) % len(made)
        a, b = [made[i] for i in first], [made[i] for i in second]
        p = self.learner.probability(self._decode(a), self._decode(b))
        places, labels = confident_pairs(p, self.explore_pairs)
        if len(places):
            pairs = [a[i] for i in places], [b[i] for i in places], labels.tolist()
            self._pseudo.append(pairs)
            self._learn(*pairs)

    def _learn(self, a: list[Decisions], b: list[Decisions], labels: list[float]) -> None:
        assert isinstance(self.learner, LearnsPairs)
        self.learner.learn_pairs(self._decode(a), self._decode(b), np.array(labels), _EXPLORE_STEPS)
        self._rewards = {}

    def _drawn(self, n: int) -> list[Architecture]:
        return self._decode(self.policy.sample(n, self.rng).decisions)

    def _decode(self, made: Sequence[Decisions]) -> list[Architecture]:
        return [Architecture.of_space(self.space, d) for d in made]

    # -- proposals and state --------------------------------------------------------------------

    def _propose(self, n: int) -> list[Architecture]:
        size = max(n, self.candidates)
        drawn = self._drawn(size)
        source = iter(drawn)
        pool = self._unknown(size, lambda: next(source), limit=size)
        if len(pool) < n:  # the policy has settled on what is known: look around it
            pool.update(self._unknown(n - len(pool), lambda: self._mutant(drawn), pool))
        if not pool:
            return self._random(n)
        found = list(pool.values())
        order = np.argsort(-np.array(self.strengths(found)), kind="stable")
        return [found[i] for i in order[:n].tolist()]

    def _state(self) -> dict[str, Any]:
        baselines = [list(self.space.encode(a)) for a in self.baselines]
        policy = {name: array.tolist() for name, array in self.policy.state_dict().items()}
        own = {"policy": policy, "baselines": baselines, "pseudo": list(self._pseudo)}
        return {**super()._state(), **own}

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self.policy.load_state_dict(state["policy"])
        self.baselines = [self.space.decode(d) for d in state["baselines"]]
        for a, b, labels in state["pseudo"]:
            pairs = [tuple(d) for d in a], [tuple(d) for d in b], list(labels)
            self._pseudo.append(pairs)
            self._learn(*pairs)
