"""Policies: distributions over the decisions of a Space that can be drawn from and moved along policy gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space

_MAX_TRIES = 100

Allowed = Callable[[Decisions], Sequence[int]]


class Draws(NamedTuple):
    """What was drawn from a policy.

    Attributes:
        decisions: n valid decisions of the space.
        log_prob: ``[n]`` float64, the log-probability of each, before the rejection of invalid ones.
    """

    decisions: list[Decisions]
    log_prob: np.ndarray


class Policy(ABC):
    """A distribution over the decisions of a Space, moved up what it is rewarded for.

    Draws that break the validity rule of the space are rejected, so draws follow the distribution conditioned on validity. A
    step whose weights have the mean 0, as ``leave_one_out`` makes them, is an unbiased step of the conditional
    distribution, because its normaliser takes part in every draw alike.

    Args:
        space: whose decisions it draws.
        learning_rate: of Adam (Kingma & Ba, 2015).
        entropy: weight of the entropy in what is maximised.
        allowed: ``allowed(prefix)`` gives the options that the next decision has, once those of ``prefix`` are made: a
            mask for spaces whose decisions depend on each other. A decision that is not active should have one option
            left: it then has the probability 1, no gradient and no entropy. None allows all.

    Raises:
        GraphnasError: an argument out of range.
    """

    def __init__(self, space: Space, learning_rate: float, entropy: float, allowed: Allowed | None = None) -> None:
        if not (0 < learning_rate < np.inf and 0 <= entropy < np.inf):
            raise GraphnasError(
                f"a policy needs learning_rate > 0 and entropy >= 0, both finite, not {learning_rate} and {entropy}"
            )
        self.space = space
        self.learning_rate = learning_rate
        self.entropy = entropy
        self.allowed = allowed
        self.widest = max(space.radices, default=1)

    def sample(self, n: int, rng: np.random.Generator) -> Draws:
        """``n`` valid draws; uniform ones in place of those that the rejection of invalid draws does not find.

        From a list of architectures (``Space.listed``) it draws what rejection would: members by their probabilities.
        """
        space = self.space
        if space.listed is not None:
            return self._sample_listed(space.listed, n, rng)
        made: list[Decisions] = []
        found: list[np.ndarray] = []
        for _ in range(_MAX_TRIES):
            drawn, log_prob = self._draw(rng, n)
            every = list(map(tuple, drawn.tolist()))
            valid = list(map(space.is_valid, every))
            if not made and all(valid):
                return Draws(every, log_prob)
            made += [d for d, is_valid in zip(every, valid, strict=True) if is_valid]
            found.append(log_prob[valid])
            if len(made) >= n:
                return Draws(made[:n], np.concatenate(found)[:n])
        rest = [space.encode(space.sample(rng)) for _ in range(n - len(made))]
        return Draws(made + rest, np.concatenate([*found, self.log_prob(rest)]))

    def _sample_listed(self, listed: np.ndarray, n: int, rng: np.random.Generator) -> Draws:
        log = self.log_prob(list(map(tuple, listed.tolist())) if self.allowed is not None else listed)  # type: ignore[arg-type]
        weights = np.exp(log - log.max())
        upto = weights.cumsum()
        places = np.searchsorted(upto, rng.random(n) * upto[-1], side="right").clip(max=len(listed) - 1)
        return Draws(list(map(tuple, listed[places].tolist())), log[places])

    @abstractmethod
    def _draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Decisions ``[n, choices]``, valid or not, and their log-probabilities ``[n]``."""

    @abstractmethod
    def log_prob(self, decisions: Sequence[Decisions]) -> np.ndarray:
        """Log-probabilities ``[n]`` (float64), before rejection; minus infinity for what ``allowed`` excludes."""

    @abstractmethod
    def mode(self) -> Decisions:
        """The most probable option of every decision, given those before it (valid or not)."""

    def step(self, decisions: Sequence[Decisions], weights: np.ndarray) -> None:
        """One step up ``mean(weights * log p(decisions)) + entropy * H``, where H is the policy's entropy.

        With advantages as weights this is REINFORCE (Williams, 1992). Any objective of the log-probabilities can be
        climbed by its derivatives: for PPO the weight of a draw is ratio times advantage, or 0 where the ratio is clipped.

        Args:
            decisions: n draws; those that ``allowed`` excludes have no gradient and are left out.
            weights: ``[n]``.
        """
        if self.allowed is not None:
            inside = np.isfinite(self.log_prob(decisions))
            decisions = [d for d, is_inside in zip(decisions, inside.tolist(), strict=True) if is_inside]
            weights = weights[inside]
        if len(decisions):
            self._climb(decisions, weights)

    @abstractmethod
    def _climb(self, decisions: Sequence[Decisions], weights: np.ndarray) -> None:
        """``step`` for at least one draw that ``allowed`` does not exclude."""

    @abstractmethod
    def reset(self, rng: np.random.Generator) -> None:
        """Forget everything that was learned."""

    @abstractmethod
    def state_dict(self) -> dict[str, np.ndarray]:
        """All that the next draw and step depend on."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of ``state_dict``; entries may be nested lists.

        Raises:
            GraphnasError: an entry is missing, or of another shape.
        """

    def _masks(self, decisions: Sequence[Decisions]) -> np.ndarray | None:
        """Whether each option of each decision is allowed after those before it, ``[n, choices, widest]``."""
        if self.allowed is None:
            return None
        masks = np.zeros((len(decisions), len(self.space.radices), self.widest), dtype=bool)
        for mask, made in zip(masks, decisions, strict=True):
            for i, row in enumerate(mask):
                row[self._options(made[:i])] = True
        return masks

    def _options(self, prefix: Decisions) -> list[int]:
        assert self.allowed is not None
        options = list(self.allowed(prefix))
        if not options or not all(0 <= o < self.space.radices[len(prefix)] for o in options):
            name = self.space.choices[len(prefix)].name
            raise GraphnasError(f"after {list(prefix)} the policy's mask allows {options} of decision {name!r}")
        return options


def leave_one_out(rewards: np.ndarray) -> np.ndarray:
    """Each reward ``[n]`` less the mean of the others; a single one as it is.

    Draws are independent, so this leaves the expected gradient as it is, and much less variance (Kool, van Hoof & Welling,
    2019).
    """
    n = len(rewards)
    return (rewards - rewards.mean()) * n / (n - 1) if n > 1 else rewards


def later_entropy(entropies: np.ndarray) -> np.ndarray:
    """How the entropy's gradient weighs ``grad log p`` of each decision of n draws, ``[n, choices]``.

    The entropy of a policy is the mean over its draws of the entropies that its decisions have given those before them.
    A decision moves the entropies of all later ones, so their sum is its reward (here less that of the other draws).

    Args:
        entropies: of every decision given those before it, ``[n, choices]``.
    """
    later = entropies[:, ::-1].cumsum(1)[:, ::-1] - entropies
    n = len(later)
    return np.asarray((later - later.mean(0)) * n / (n - 1) if n > 1 else later)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def open_options(space: Space) -> np.ndarray:
    """Which options every decision has, ``[choices, widest radix]``."""
    return np.asarray(np.arange(max(space.radices, default=1)) < np.array(space.radices, dtype=np.int64)[:, None])


def take(state: Mapping[str, Any], name: str, like: np.ndarray) -> np.ndarray:
    """An entry of a state, in the type of ``like``.

    Raises:
        GraphnasError: it is missing, or of another shape.
    """
    found = np.array(state[name], dtype=like.dtype) if name in state else None
    if found is None or found.shape != like.shape:
        raise GraphnasError(f"the state of a policy lacks {name!r} of shape {list(like.shape)}; start the search anew")
    return found
