"""What an outer step may see and do: weights, batches and noise of this moment, and counted evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphnas.oneshot.base import CARRIED, Alpha, Group, Mix, Problem, State, Tensors
from graphnas.oneshot.optimisers import Rule, Slots
from graphnas.oneshot.relaxations.base import Relaxation
from graphnas.oneshot.schedules import Clock
from graphnas.oneshot.streams import Streams

Average = Callable[[list[Tensor]], list[Tensor]]
"""The mean over all processes of a distributed search, of each tensor."""


@dataclass
class Count:
    """Evaluations so far.

    Attributes:
        forward: losses computed.
        backward: differentiations of one loss, second ones included.
        second: how many of these were of a gradient: they go back through a forward and a backward pass.
    """

    forward: int = 0
    backward: int = 0
    second: int = 0


@dataclass
class Context:
    """One moment of a search.

    Nothing in it may be changed in place. Gradients and values pass through ``gradient`` and ``value``, which count
    them and average them over processes, so that a method need not know about either.

    Attributes:
        problem: the losses.
        groups: the decisions, with the options that are left.
        relaxation: from alpha to mixing weights.
        alpha: architecture parameters; leaves that ask for gradients.
        state: weights.
        inner: the weights' optimiser.
        slots: what that optimiser remembers.
        clock: the step.
        streams: batches.
        opened: outer steps made before this one, which numbers the outer batches.
        seed: of the search.
        count: evaluations.
        average: over processes; None in a search of one process.
        kept: what the last outer evaluation carries to the next outer batch.
    """

    problem: Problem
    groups: tuple[Group, ...]
    relaxation: Relaxation
    alpha: Alpha
    state: State
    inner: Rule
    slots: Slots
    clock: Clock
    streams: Streams
    opened: int = 0
    seed: int = 0
    count: Count = field(default_factory=Count)
    average: Average | None = None
    kept: Tensors = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """The weights' learning rate at present."""
        return self.inner.rate(self.clock.progress)

    @property
    def masks(self) -> Tensors:
        """The entries of alpha that are in use."""
        return self.relaxation.masks(self.groups)

    def inner_batch(self, ahead: int = 0) -> Any:
        """The training batch of this step, or of a later one."""
        return self.streams.inner(self.clock.step + ahead)

    def outer_batch(self) -> Any:
        """The validation batch of this outer step."""
        return self.streams.outer(self.opened)

    def generator(self, purpose: str) -> torch.Generator:
        """Noise for a purpose at this step; the same at every call."""
        return seeded(self.seed, self.clock.step, purpose)

    def mix(self, alpha: Alpha | None = None, batch: Any = None, purpose: str = "architecture") -> Mix:
        """Mixing weights for alpha; the noise is the same for every alpha.

        Args:
            alpha: other parameters than the present ones.
            batch: for relaxations that draw one sample for each example.
            purpose: of the noise.
        """
        n = self.problem.examples(batch) if self.relaxation.per_example and batch is not None else None
        parameters = self.alpha if alpha is None else alpha
        mix = self.relaxation(self.groups, parameters, self.clock.progress, self.generator(purpose), n)
        return self._live(mix)

    def expected(self, alpha: Alpha | None = None) -> Mix:
        """Mixing weights for alpha without noise."""
        parameters = self.alpha if alpha is None else alpha
        return self._live(self.relaxation.expected(self.groups, parameters, self.clock.progress))

    def _live(self, mix: Mix) -> Mix:
        return replace(mix, live={g.name: g.mask for g in self.groups})

    # -- evaluations ------------------------------------------------------------------------------

    def inner_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> tuple[Tensor, Tensors]:
        """The problem's inner loss and new buffers, counted."""
        self.count.forward += 1
        return self.problem.inner_loss(state, mix, batch, reduce)

    def outer_loss(self, state: State, mix: Mix, batch: Any, reduce: bool = True) -> Tensor:
        """The problem's outer loss, counted; of the buffers, only what is carried is of use."""
        self.count.forward += 1
        loss, buffers = self.problem.outer_loss(state, mix, batch, reduce)
        self.kept = {name: b for name, b in buffers.items() if name.startswith(f"{CARRIED}.outer")}
        return loss

    def differentiate(
        self, output: Tensor, inputs: Sequence[Tensor], *, keep: bool = False, second: bool = False, losses: int = 1
    ) -> list[Tensor]:
        """Gradients in this process alone; zeros where nothing depends on an input.

        Args:
            output: a number.
            inputs: leaves.
            keep: make the gradients differentiable, and keep the output's graph.
            second: the output is made of gradients; its graph is kept, for more products with the same second derivative.
            losses: how many losses the output joins, for the count.
        """
        self.count.backward += losses
        self.count.second += second
        if not output.requires_grad:
            return [torch.zeros_like(x) for x in inputs]
        found = torch.autograd.grad(
            output, list(inputs), create_graph=keep, retain_graph=keep or second, allow_unused=True
        )
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]

    def gradient(self, output: Tensor, inputs: Sequence[Tensor], *, losses: int = 1) -> list[Tensor]:
        """Gradients, averaged over processes."""
        return self.averaged(self.differentiate(output, inputs, losses=losses))

    def averaged(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The means over processes."""
        values = [v.detach() for v in values]
        return list(values) if self.average is None else self.average(list(values))

    def value(self, loss: Tensor) -> float:
        """A loss as a number, averaged over processes."""
        return float(self.averaged([loss])[0])


def seeded(seed: int, step: int, purpose: str) -> torch.Generator:
    """A generator on the CPU for one purpose at one step of a search."""
    words = np.random.SeedSequence([seed, step, *purpose.encode()]).generate_state(2)
    return torch.Generator().manual_seed((int(words[0]) << 31) ^ int(words[1]))
