"""What the zero-order steps of ZARTS share: alpha as a vector, and the value of a candidate."""

from __future__ import annotations

import torch
from torch import Tensor

from graphnas.oneshot.base import Alpha
from graphnas.oneshot.context import Context
from graphnas.oneshot.derivatives import rollout


class Candidates:
    """The outer loss after ``steps`` steps of the weights, as a function of a displacement of alpha.

    ``L(alpha + u)`` of Wang et al. (NeurIPS 2022): every candidate starts from fresh copies of the present weights,
    buffers and optimiser slots, takes its steps with alpha fixed at the candidate on the same training batches, and is
    scored on the same validation batch with the same noise. Nothing else changes.

    Args:
        context: the moment.
        steps: M.
    """

    def __init__(self, context: Context, steps: int) -> None:
        self.context = context
        self.steps = steps
        self.masks = {name: mask.nonzero(as_tuple=True) for name, mask in context.masks.items()}
        self.start = {name: a.detach() for name, a in context.alpha.items()}
        self.parts = [len(self.start[name][at]) for name, at in self.masks.items()]
        first = next(iter(self.start.values()))
        self.zero = torch.zeros(sum(self.parts), dtype=first.dtype, device=first.device)

    def noise(self, n: int, purpose: str) -> Tensor:
        """``[n, D]`` standard normal numbers, where D is the number of entries of alpha in use."""
        drawn = torch.randn(n, len(self.zero), generator=self.context.generator(purpose), dtype=self.zero.dtype)
        return drawn.to(self.zero.device)

    def alpha(self, displacement: Tensor) -> Alpha:
        """Alpha with a displacement ``[D]`` added to the entries in use."""
        return {name: self.start[name] + delta for name, delta in self.delta(displacement).items()}

    def delta(self, displacement: Tensor) -> Alpha:
        """A displacement ``[D]`` as matrices, 0 at entries that are not in use."""
        made, begin = {}, 0
        for (name, at), size in zip(self.masks.items(), self.parts, strict=True):
            made[name] = torch.zeros_like(self.start[name]).index_put(at, displacement[begin : begin + size])
            begin += size
        return made

    def vector(self, matrices: Alpha) -> Tensor:
        """The entries in use of matrices in alpha's shapes, ``[D]``."""
        return torch.cat([matrices[name][at] for name, at in self.masks.items()])

    def value(self, displacement: Tensor) -> float:
        """The outer loss of a candidate."""
        context = self.context
        batch = context.outer_batch()
        mix = context.mix(self.alpha(displacement), batch).detached()
        state = rollout(context, mix, self.steps)
        with torch.no_grad():
            return context.value(context.outer_loss(state, mix, batch))
