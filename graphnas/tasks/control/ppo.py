"""Proximal policy optimisation with generalised advantages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.tasks.base import Batch
from graphnas.tasks.control.environments import Environments
from graphnas.tasks.control.objective import Experience, Objective, source
from graphnas.tasks.control.policy import Policy, prepared
from graphnas.tasks.image import parts_of, share_of


@dataclass(frozen=True)
class PPO(Objective):
    """The clipped objective of Schulman et al. (arXiv 1707.06347, equations 7 and 9), its value loss clipped as well.

    A pass is ``rollouts`` times ``length`` steps in each of ``environments``, each of which is learned from ``passes`` times in batches of
    ``batch`` steps. Advantages are standardised in each batch. A network's outputs are a logit for each action and then the value.
    Defaults as Cobbe et al. (ICML 2020) and RL-DARTS, but for the lengths and sizes, which suit small games; ``PROCGEN``
    has theirs.

    Attributes:
        environments: side by side.
        length: steps of a rollout in each of them.
        rollouts: of a pass.
        batch: steps of a batch.
        passes: over a rollout.
        discount: gamma.
        trace: lambda of generalised advantages.
        clip: of the ratio of probabilities, and of the change of the value.
        entropy: weight of the mean entropy.
        value: weight of the value's loss.
        reward: factor of the rewards.
        learning_rate: of Adam, where a network is trained from scratch.
        norm: at which the gradient is clipped there.
    """

    environments: int = 16
    length: int = 64
    rollouts: int = 8
    batch: int = 256
    passes: int = 2
    discount: float = 0.999
    trace: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    value: float = 0.5
    reward: float = 1.0
    learning_rate: float = 5e-4
    norm: float = 0.5

    def __post_init__(self) -> None:
        for name in ("environments", "length", "rollouts", "batch", "passes"):
            if getattr(self, name) < 1:
                raise GraphnasError(f"{name} of PPO is {getattr(self, name)}; it must be at least 1")

    @property
    def recipe(self) -> dict[str, Any]:
        """Adam at a constant rate, without weight decay."""
        rate = {"optimiser": "adam", "learning_rate": self.learning_rate, "schedule": "constant"}
        return {**rate, "weight_decay": 0.0, "clip": self.norm}

    def outputs(self, actions: int) -> int:
        """Logits and a value."""
        return actions + 1

    def choose(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Drawn from the policy."""
        return torch.multinomial(output[:, :-1].softmax(1), 1, generator=generator)[:, 0]

    def batches(self) -> int:
        """See ``Objective``."""
        return self.rollouts * self.passes * len(parts_of(torch.empty(self.environments * self.length), self.batch))

    def with_batch(self, size: int) -> PPO:
        """See ``Objective``."""
        return replace(self, batch=min(self.batch, size))

    def experience(self, policy: Policy, environments: Environments) -> Experience:
        """See ``Objective``."""
        return _Rollouts(self, policy, environments)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean of clipped surrogate, value and entropy terms.

        Args:
            output: ``[B, actions + 1]``.
            target: ``[B, 5]``: action, its logarithmic probability when it was taken, advantage, return, value at the time.
        """
        action, old, advantage, goal, before = target.to(output.dtype).unbind(1)
        logits, value = output[:, :-1].log_softmax(1), output[:, -1]
        ratio = (logits.gather(1, action.long()[:, None])[:, 0] - old).exp()
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage)
        near = before + (value - before).clamp(-self.clip, self.clip)
        errors = torch.maximum((value - goal).square(), (near - goal).square()) / 2
        entropy = -(logits.exp() * logits).sum(1)
        return (self.value * errors - surrogate - self.entropy * entropy).mean()


PROCGEN = PPO(environments=64, length=1024, rollouts=1, batch=2048, reward=0.1)
"""The easy setting of Procgen in RL-DARTS: a pass is a rollout of 65,536 steps. Rewards of 10 count as 1."""


class _Rollouts(Experience):
    def __init__(self, settings: PPO, policy: Policy, environments: Environments) -> None:
        super().__init__(policy, environments)
        self.settings = settings

    def __call__(self, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """See ``Experience``."""
        generator, settings = source(generator), self.settings
        x = self.begun(generator)
        for _ in range(share_of(settings.rollouts, share)):
            x, seen, target = self._rollout(x, generator)
            for _ in range(settings.passes):
                order = torch.randperm(len(seen), generator=generator)
                for rows in parts_of(order, settings.batch):
                    part = target[rows]
                    part[:, 2] = standardised(part[:, 2])
                    yield Batch((prepared(seen[rows.numpy()]),), part)

    def _rollout(self, x: np.ndarray, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """The observation after it, the observations ``[T * N, C, H, W]`` and the targets ``[T * N, 5]``."""
        settings, environments = self.settings, self.environments
        shape = settings.length, environments.count
        seen = np.empty((*shape, *environments.shape), np.uint8)
        actions, chances, values, following, rewards = (np.zeros(shape, np.float32) for _ in range(5))
        terminated, ended = np.zeros(shape, bool), np.zeros(shape, bool)
        output = self.policy(prepared(x))
        for t in range(settings.length):
            chosen = self.settings.choose(output, generator)
            seen[t], actions[t], values[t] = x, chosen.numpy(), output[:, -1].numpy()
            chances[t] = output[:, :-1].log_softmax(1).gather(1, chosen[:, None])[:, 0].numpy()
            step = environments.step(chosen.numpy())
            ended[t], terminated[t] = step.terminated | step.truncated, step.terminated
            self.count(step.rewards, ended[t])
            rewards[t] = settings.reward * step.rewards
            x = step.observations
            output = self.policy(prepared(x))
            following[t] = output[:, -1].numpy()
            if step.truncated.any():  # what would have followed counts, not the new episode
                cut = self.policy(prepared(step.final))[:, -1].numpy()
                following[t] = np.where(step.truncated, cut, following[t])
        gains = advantages(rewards, values, following, terminated, ended, settings.discount, settings.trace)
        columns = [actions, chances, gains, gains + values, values]
        target = torch.from_numpy(np.stack(columns, -1).reshape(-1, len(columns)).astype(np.float32))
        return x, seen.reshape(-1, *environments.shape), target


def advantages(
    rewards: np.ndarray,
    values: np.ndarray,
    following: np.ndarray,
    terminated: np.ndarray,
    ended: np.ndarray,
    discount: float,
    trace: float,
) -> np.ndarray:
    """Generalised advantages (Schulman et al., ICLR 2016, equation 16), all arrays ``[T, N]``.

    Args:
        rewards: of the steps.
        values: of the states before them.
        following: values of the states after them, before any new episode begins.
        terminated: nothing follows.
        ended: the next step belongs to another episode.
        discount: gamma.
        trace: lambda.
    """
    surprise: np.ndarray = rewards + discount * following * ~terminated - values
    found = np.zeros_like(surprise)
    later = np.zeros(surprise.shape[1:], surprise.dtype)
    for t in range(len(surprise) - 1, -1, -1):
        later = surprise[t] + discount * trace * ~ended[t] * later
        found[t] = later
    return found


def standardised(x: Tensor) -> Tensor:
    """Less the mean, divided by the standard deviation (n - 1); one number becomes 0."""
    spread = float(x.std()) if len(x) > 1 else math.inf
    return (x - x.mean()) / (spread + 1e-8)
