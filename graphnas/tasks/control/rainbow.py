"""Learning distributions of returns from a memory, as Rainbow does without its noisy layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.tasks.base import Batch
from graphnas.tasks.control.categorical import duelling, expected, project, support
from graphnas.tasks.control.environments import Environments
from graphnas.tasks.control.objective import Arrays, Experience, Objective, source
from graphnas.tasks.control.policy import Policy, prepared
from graphnas.tasks.control.replay import Replay, Window
from graphnas.tasks.image import share_of

_LEAST = 1e-6
"""Added to priorities, so that everything can be drawn again."""


@dataclass(frozen=True)
class Rainbow(Objective):
    """Double, duelling and distributional Q-learning over n steps with prioritised replay (Hessel et al., AAAI 2018).

    In place of noisy layers, actions are drawn at random with a probability that falls in a straight line (Mnih et al., 2015), as an encoder is
    what is searched. Distributions are those of C51. Defaults as in RL-DARTS (51 atoms on [0, 1], 7 steps, exponents 0.8 and 0.2,
    4 actors, target network renewed every 500 updates), but for capacity, batch, and exploration, which suit small games;
    ``PROCGEN`` has theirs.

    Attributes:
        environments: that the agent acts in side by side.
        updates: batches of a pass.
        period: steps in each environment between two updates.
        batch: transitions of an update.
        capacity: of the memory.
        start: transitions in the memory before the first update.
        atoms: of the distributions.
        low, high: the first and the last atom.
        length: steps of a transition.
        discount: gamma.
        priority: exponent of the priorities.
        importance: exponent of the weights that make up for them; the greatest weight of a batch is 1.
        target: updates after which the target network is renewed; it is so at the start of a pass, too.
        explore: steps, in all environments, over which random actions become rare.
        least: probability of a random action after that.
        reward: factor of the rewards.
        learning_rate: of Adam, where a network is trained from scratch.
        norm: at which the gradient is clipped there.
    """

    environments: int = 4
    updates: int = 500
    period: int = 1
    batch: int = 64
    capacity: int = 20_000
    start: int = 500
    atoms: int = 51
    low: float = 0.0
    high: float = 1.0
    length: int = 7
    discount: float = 0.99
    priority: float = 0.8
    importance: float = 0.2
    target: int = 500
    explore: int = 2_000
    least: float = 0.01
    reward: float = 1.0
    learning_rate: float = 5e-4
    norm: float = 10.0

    def __post_init__(self) -> None:
        for name in ("environments", "updates", "period", "batch", "start", "length", "target"):
            if getattr(self, name) < 1:
                raise GraphnasError(f"{name} of Rainbow is {getattr(self, name)}; it must be at least 1")
        if self.atoms < 2 or not self.low < self.high:
            raise GraphnasError(
                f"Rainbow needs two atoms or more from low to high, not {self.atoms} on [{self.low}, {self.high}]"
            )
        if self.start > self.capacity:
            raise GraphnasError(
                f"Rainbow's memory of {self.capacity} never holds the {self.start} transitions to start"
            )

    @property
    def recipe(self) -> dict[str, Any]:
        """Adam at a constant rate, without weight decay."""
        rate = {"optimiser": "adam", "learning_rate": self.learning_rate, "schedule": "constant"}
        return {**rate, "weight_decay": 0.0, "clip": self.norm}

    def outputs(self, actions: int) -> int:
        """A value and an advantage for each action, of every atom."""
        return (actions + 1) * self.atoms

    def logits(self, output: Tensor) -> Tensor:
        """Of the distribution of each action, ``[B, actions, atoms]``."""
        return duelling(output, self.atoms)

    def choose(self, output: Tensor, generator: torch.Generator, random: float | None = None) -> Tensor:
        """The action of the greatest mean, or, with probability ``random`` (default: ``least``), any."""
        means = expected(self.logits(output), support(self.low, self.high, self.atoms))
        other = torch.randint(means.shape[1], (len(means),), generator=generator)
        chance = self.least if random is None else random
        return torch.where(torch.rand(len(means), generator=generator) < chance, other, means.argmax(1))

    def batches(self) -> int:
        """See ``Objective``."""
        return self.updates

    def with_batch(self, size: int) -> Rainbow:
        """See ``Objective``."""
        return replace(self, batch=min(self.batch, size))

    def experience(self, policy: Policy, environments: Environments) -> Experience:
        """See ``Objective``."""
        return _Remembered(self, policy, environments)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean weighted cross entropy between the target's distribution and that of the action.

        Args:
            output: ``[B, (actions + 1) * atoms]``.
            target: ``[B, 2 + atoms]``: action, weight, distribution.
        """
        target = target.to(output.dtype)
        return (target[:, 1] * self.surprise(output, target[:, 0].long(), target[:, 2:])).mean()

    def surprise(self, output: Tensor, action: Tensor, distribution: Tensor) -> Tensor:
        """The cross entropy of each transition, ``[B]``."""
        chosen = self.logits(output)[torch.arange(len(action)), action]
        return -(distribution * chosen.log_softmax(1)).sum(1)


PROCGEN = Rainbow(batch=256, capacity=500_000, start=20_000, explore=250_000, reward=0.1, learning_rate=5e-5)
"""RL-DARTS's on Procgen, with rewards of 10 as 1. The memory takes 12 GB."""


class _Remembered(Experience):
    def __init__(self, settings: Rainbow, policy: Policy, environments: Environments) -> None:
        super().__init__(policy, environments)
        self.settings = settings
        self.replay = Replay(settings.capacity, environments.shape, settings.priority)

    def __call__(self, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """See ``Experience``."""
        generator, settings = source(generator), self.settings
        x = self.begun(generator)
        windows = [Window(settings.length, settings.discount) for _ in range(self.environments.count)]
        target = self.policy.frozen()
        for number in range(share_of(settings.updates, share)):
            x = self._act(x, windows, settings.period, generator)
            while len(self.replay) < settings.start:
                x = self._act(x, windows, 1, generator)
            if number % settings.target == 0:
                target = self.policy.frozen()
            yield self._batch(target, generator)

    def _act(self, x: np.ndarray, windows: list[Window], steps: int, generator: torch.Generator) -> np.ndarray:
        settings = self.settings
        for _ in range(steps):
            random = max(settings.least, 1 - (1 - settings.least) * self.steps / max(1, settings.explore))
            chosen = settings.choose(self.policy(prepared(x)), generator, random).numpy()
            step = self.environments.step(chosen)
            self.count(step.rewards, step.terminated | step.truncated)
            for i, window in enumerate(windows):
                told = float(settings.reward * step.rewards[i]), step.final[i], bool(step.terminated[i])
                for transition in window.add(x[i], int(chosen[i]), *told, bool(step.truncated[i])):
                    self.replay.add(transition)
            x = step.observations
        return x

    def _batch(self, target: Policy, generator: torch.Generator) -> Batch:
        """Transitions by priority; their priorities become the divergences that the policy has on them now."""
        settings, replay = self.settings, self.replay
        places = replay.draw(torch.rand(settings.batch, generator=generator, dtype=torch.float64).numpy())
        weights = (len(replay) * replay.chances(places)) ** -settings.importance
        before, after = prepared(replay.before[places]), prepared(replay.after[places])
        atoms, action = support(settings.low, settings.high, settings.atoms), torch.from_numpy(replay.action[places])
        # The policy chooses, the target network tells what that is worth (van Hasselt et al., AAAI 2016).
        best = expected(settings.logits(self.policy(after)), atoms).argmax(1)
        worth = settings.logits(target(after))[torch.arange(len(best)), best].softmax(1)
        gains, discounts = (torch.from_numpy(values[places]) for values in (replay.gain, replay.discount))
        distribution = project(worth, gains, discounts, atoms)
        own = torch.xlogy(distribution, distribution).sum(
            1
        )  # the loss less this is the divergence (Rainbow, section 3)
        divergence = (settings.surprise(self.policy(before), action, distribution) + own).clamp_min(0)
        replay.set_priorities(places, divergence.double().numpy() + _LEAST)
        weight = torch.from_numpy(weights / weights.max()).float()
        return Batch((before,), torch.cat([action[:, None].float(), weight[:, None], distribution], 1))

    def state(self) -> Arrays:
        """The memory too."""
        return {**super().state(), **self.replay.state()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See ``Experience``."""
        super().restore(arrays)
        self.replay.restore(arrays)
