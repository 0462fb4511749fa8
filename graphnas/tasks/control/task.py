"""A game as a task: networks play it, learn from what they see, and are measured by what they get."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphnas.errors import GraphnasError
from graphnas.tasks.base import SPLITS, Batch, Metric, Signature, Task
from graphnas.tasks.control.environments import Environments, make
from graphnas.tasks.control.objective import Experience, Objective
from graphnas.tasks.control.policy import Indifferent, NetworkPolicy, Policy, prepared
from graphnas.tasks.control.ppo import PPO
from graphnas.tasks.measure import check_output


class ControlTask(Task):
    """Control from pixels; selection is by the mean return of episodes that are played with other seeds (or levels).

    Its signature is that of a task of images, so every space that builds networks for images builds agents. An epoch of training
    is a pass of the objective, in which the network plays and learns at a time (``experience``); the loss of a batch is the
    objective's. ``batches`` are those of an agent to which all actions are equal.

    Args:
        environment: ``procgen/coinrun``, or any name that ``gymnasium.make`` knows; see ``environments.make``.
        objective: PPO or Rainbow.
        name: for settings and reports.
        episodes: played for a measurement.
        seed: of the episodes that measurements play.

    Raises:
        GraphnasError: no such environment, or a package is missing.
    """

    metric = Metric("return")

    def __init__(
        self,
        environment: str,
        objective: Objective | None = None,
        *,
        name: str | None = None,
        episodes: int = 64,
        seed: int = 0,
    ) -> None:
        if episodes < 1:
            raise GraphnasError(f"a measurement plays {episodes} episodes; it must be at least 1")
        self.environment = environment
        self.objective: Objective = PPO() if objective is None else objective
        self.name = environment if name is None else name
        self.episodes, self.seed = episodes, seed
        one = self.environments("train", 1)
        self.actions = one.actions
        self.signature = Signature("image", one.shape, self.objective.outputs(one.actions))
        self.recipe = self.objective.recipe  # type: ignore[misc]  # each objective has its own

    def with_batch(self, size: int) -> ControlTask:
        """The same task with training batches of at most this size."""
        other = copy.copy(self)
        other.objective = self.objective.with_batch(size)
        return other

    def environments(self, split: str, count: int | None = None) -> Environments:
        """New environments of a split, by default as many as the objective acts in."""
        return make(self.environment, self.objective.environments if count is None else count, split)

    def experience(self, network: nn.Module) -> Callable[[torch.Generator | None, float], Iterator[Batch]]:
        """What the network learns from in training: batches that come from its own play, as it is at each moment."""
        return self.played_by(NetworkPolicy(network))

    def played_by(self, policy: Policy, split: str = "train") -> Experience:
        """A new learner that acts by a policy in environments of its own."""
        return self.objective.experience(policy, self.environments(split))

    def batches(self, split: str, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """One pass of an agent that takes every action alike."""
        yield from self.played_by(Indifferent(self.signature.outputs), split)(generator, share)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The objective's."""
        check_output(output, len(batch.target), self.signature.outputs)
        return self.objective.loss(output, batch.target)

    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        """``return`` and ``length``: means over episodes of a split, the same ones (as far as actions allow) at every call."""
        return self.measured(NetworkPolicy(network), split)

    def measured(self, policy: Policy, split: str) -> dict[str, float]:
        """The figures of ``evaluate`` for any policy.

        Every environment plays an equal number of episodes one after the other, so that short episodes do not count more.
        """
        environments = self.environments(split, min(self.episodes, self.objective.environments))
        wanted = -(-self.episodes // environments.count)
        words = np.random.SeedSequence([self.seed, SPLITS.index(split)]).generate_state(2)
        generator = torch.Generator().manual_seed(int(words[0]))
        x = environments.reset(int(words[1]))
        gains, lengths, played = (np.zeros(environments.count) for _ in range(3))
        while played.min() < wanted:
            output = policy(prepared(x))
            check_output(output, environments.count, self.signature.outputs)
            step = environments.step(self.objective.choose(output, generator).numpy())
            counts = played < wanted
            gains += step.rewards * counts
            lengths += counts
            played += step.terminated | step.truncated
            x = step.observations
        episodes = wanted * environments.count
        return {"return": float(gains.sum() / episodes), "length": float(lengths.sum() / episodes)}

    def describe(self) -> dict[str, Any]:
        """Settings, as JSON values."""
        return {
            "name": self.name,
            "environment": self.environment,
            "objective": {"name": type(self.objective).__name__.lower(), **asdict(self.objective)},  # type: ignore[call-overload]
            "episodes": self.episodes,
            "seed": self.seed,
        }
