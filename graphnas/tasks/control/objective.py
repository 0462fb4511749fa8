"""What every objective of control gives: outputs, actions, batches made by acting, and a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphnas.tasks.base import Batch
from graphnas.tasks.control.environments import Environments
from graphnas.tasks.control.policy import Policy

Arrays = dict[str, np.ndarray]


class Experience(ABC):
    """What one learner lives through: its environments, and what it remembers.

    Every pass begins with new episodes, so a training can go on from the end of any pass.

    Attributes:
        steps: taken in all environments together.
        returns: (steps taken when the episode ended, its undiscounted return), of finished episodes in their order.
    """

    def __init__(self, policy: Policy, environments: Environments) -> None:
        self.policy, self.environments = policy, environments
        self.steps = 0
        self.returns: list[tuple[int, float]] = []
        self._running = np.zeros(environments.count)

    @abstractmethod
    def __call__(self, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """One pass: act with the policy as it is at each moment, and give the batches to learn from.

        Args:
            generator: of episodes, actions and orders (seed 0 when not given).
            share: of the steps of a pass.
        """

    def state(self) -> Arrays:
        """What a later pass needs of the earlier ones, between two passes."""
        return {"steps": np.array(self.steps)}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what ``state`` gave."""
        self.steps = int(arrays["steps"])

    def begun(self, generator: torch.Generator) -> np.ndarray:
        """First observations of new episodes."""
        self._running[:] = 0
        return self.environments.reset(int(torch.randint(2**31 - 1, (), generator=generator)))

    def count(self, rewards: np.ndarray, ended: np.ndarray) -> None:
        """Book a step in each environment."""
        self.steps += len(rewards)
        self._running += rewards
        for value in self._running[ended].tolist():
            self.returns.append((self.steps, value))
        self._running[ended] = 0


class Objective(ABC):
    """How an agent learns. Its settings are the fields of a frozen dataclass.

    Attributes:
        environments: that an agent acts in at a time.
    """

    environments: int

    @property
    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """Arguments of ``Recipe``."""

    @abstractmethod
    def outputs(self, actions: int) -> int:
        """The number of outputs of a network."""

    @abstractmethod
    def choose(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Actions ``[N]`` (int64) of a trained agent for outputs ``[N, outputs]``."""

    @abstractmethod
    def batches(self) -> int:
        """How many batches a whole pass gives."""

    @abstractmethod
    def with_batch(self, size: int) -> Objective:
        """The same objective with batches of at most this size."""

    @abstractmethod
    def experience(self, policy: Policy, environments: Environments) -> Experience:
        """A new learner's."""

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean loss of a batch; ``target[B, ...]`` is what ``experience`` wrote."""


def source(generator: torch.Generator | None) -> torch.Generator:
    """The generator, or one with seed 0."""
    return torch.Generator().manual_seed(0) if generator is None else generator
