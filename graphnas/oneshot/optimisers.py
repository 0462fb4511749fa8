"""Optimisers as pure rules: parameters, gradients and slots in, new parameters and slots out.

A virtual step, a step on a private copy and the real step are thus one and the same function. Results are bit-equal to
torch.optim's, whose optimisers own the parameters that they were made for and so cannot be run on a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Tensors
from graphnas.oneshot.schedules import Schedule

Slots = dict[str, Tensors]
"""What an optimiser remembers: for each kind of memory a tensor for each parameter that has had a gradient."""

Gradients = Mapping[str, Tensor | None]
"""A gradient for each parameter; None where the loss does not depend on it, which leaves the parameter as it is."""


class Rule(Protocol):
    """An optimiser without state of its own."""

    @property
    def rate(self) -> Schedule:
        """The learning rate."""

    def step(self, parameters: Tensors, gradients: Gradients, slots: Slots, rate: float) -> tuple[Tensors, Slots]:
        """New parameters and slots; the old ones stay as they are. ``{}`` are the slots to begin with.

        The result is differentiable with respect to the parameters and gradients if these ask for it.
        """


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum (Nesterov's if so asked), L2 weight decay and clipping of the norm.

    Attributes:
        rate: learning rate.
        momentum: decay of the running sum of gradients.
        nesterov: look ahead along the running sum.
        weight_decay: times the parameters, added to the gradients after clipping.
        clip: bound on the norm of all gradients together; None: no bound.
    """

    rate: Schedule
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise GraphnasError("Nesterov's look-ahead needs a momentum greater than 0")

    def step(self, parameters: Tensors, gradients: Gradients, slots: Slots, rate: float) -> tuple[Tensors, Slots]:
        """One step; see ``Rule.step``."""
        moved, before = dict(parameters), slots.get("momentum", {})
        sums = dict(before)
        for name, gradient in _clipped(gradients, self.clip).items():
            p = parameters[name]
            if self.weight_decay:
                gradient = gradient.add(p, alpha=self.weight_decay)
            if self.momentum:
                old = before.get(name)
                total = gradient if old is None else old.mul(self.momentum).add(gradient)
                sums[name] = total
                gradient = gradient.add(total, alpha=self.momentum) if self.nesterov else total
            moved[name] = p.add(gradient, alpha=-rate)
        return moved, {"momentum": sums} if self.momentum else {}


@dataclass(frozen=True)
class Adam:
    """Adam with L2 weight decay (Kingma & Ba, ICLR 2015).

    Attributes:
        rate: learning rate.
        betas: decay of the running means of gradients and of their squares.
        epsilon: added to the root of the mean square.
        weight_decay: times the parameters, added to the gradients after clipping.
        clip: bound on the norm of all gradients together; None: no bound.
    """

    rate: Schedule
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip: float | None = None

    def step(self, parameters: Tensors, gradients: Gradients, slots: Slots, rate: float) -> tuple[Tensors, Slots]:
        """One step; see ``Rule.step``."""
        moved = dict(parameters)
        means, squares, counts = (dict(slots.get(name, {})) for name in ("mean", "square", "steps"))
        first, second = self.betas
        for name, gradient in _clipped(gradients, self.clip).items():
            p = parameters[name]
            if self.weight_decay:
                gradient = gradient.add(p, alpha=self.weight_decay)
            if name not in counts:
                means[name], squares[name] = torch.zeros_like(p), torch.zeros_like(p)
                counts[name] = torch.zeros((), dtype=torch.int64)
            counts[name] = counts[name] + 1
            count = int(counts[name])
            means[name] = mean = means[name].lerp(gradient, 1 - first)
            squares[name] = square = squares[name].mul(second).addcmul(gradient, gradient, value=1 - second)
            scale = (square.sqrt() / (1 - second**count) ** 0.5).add(self.epsilon)
            moved[name] = p.addcdiv(mean, scale, value=-rate / (1 - first**count))
        return moved, {"mean": means, "square": squares, "steps": counts}


def _clipped(gradients: Gradients, bound: float | None) -> Tensors:
    present = {name: g for name, g in gradients.items() if g is not None}
    if bound is None or not present:
        return present
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in present.values()]))
    factor = torch.clamp(bound / (norm + 1e-6), max=1.0)
    return {name: g * factor for name, g in present.items()}
