"""What every relaxation can do."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from graphnas.oneshot.base import Alpha, Group, Mix, Tensors


class Relaxation(ABC):
    """A differentiable map from architecture parameters to mixing weights.

    It has settings but no state: what a search remembers is in alpha and in the groups' masks. Draws come from the
    generator that is passed in, so equal generators give equal noise for different alpha.
    """

    per_example: bool = False
    """Whether each example of a batch gets its own sample."""
    channels: int = 1
    """One channel in so many passes the operations of the supernet that this relaxation is for."""
    node_norm: bool = False
    """Whether that supernet normalises its sums."""

    @abstractmethod
    def __call__(
        self, groups: Sequence[Group], alpha: Alpha, progress: float, generator: torch.Generator, n: int | None = None
    ) -> Mix:
        """Mixing weights for alpha, differentiable.

        Args:
            groups: the decisions, with the options that are left.
            alpha: as ``initial`` made it.
            progress: the part of the search that is over, for schedules.
            generator: of the noise, on the CPU.
            n: draw so many samples, ``[n, R, K]``; None: one, ``[R, K]``. Relaxations without noise ignore it.
        """

    @abstractmethod
    def expected(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> Mix:
        """Weights without noise, by which options are compared."""

    def initial(self, groups: Sequence[Group], generator: torch.Generator) -> Alpha:
        """Fresh parameters: normal with standard deviation 1e-3 (Liu et al., 2019)."""
        return self.drawn(groups, generator, 0.0, 1e-3)

    def drawn(self, groups: Sequence[Group], generator: torch.Generator, mean: float, deviation: float) -> Alpha:
        """Normal parameters for every mask of this relaxation, 0 where there is no option."""
        return {
            name: (mean + deviation * torch.randn(mask.shape, generator=generator)).masked_fill(~mask, 0.0)
            for name, mask in self.masks(groups).items()
        }

    def masks(self, groups: Sequence[Group]) -> Tensors:
        """For each matrix of alpha the entries that are in use."""
        return {group.name: group.mask for group in groups}

    def project_(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> tuple[Group, ...]:
        """Bring alpha back to where it may be after a step; returns the groups with the options that are left.

        Who calls it then sets alpha, and what optimisers remember of it, to 0 where the masks are False.
        """
        return tuple(groups)


def log_softmax(alpha: Tensor, mask: Tensor) -> Tensor:
    """The logarithm of the softmax over the options that a row has; minus infinity elsewhere, without gradient."""
    return alpha.masked_fill(~mask, -math.inf).log_softmax(-1).masked_fill(~mask, -math.inf)


def exponentials(like: Tensor, generator: torch.Generator, n: int | None) -> Tensor:
    """Standard exponential noise ``[R, K]`` or ``[n, R, K]``; minus its logarithm is Gumbel noise."""
    shape = like.shape if n is None else (n, *like.shape)
    uniform = torch.rand(shape, generator=generator, dtype=like.dtype)
    return -uniform.clamp_min(torch.finfo(like.dtype).tiny).log().to(like.device)
