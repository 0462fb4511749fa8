"""Modules of the operations on maps. Each class needs PyTorch only: an exported network carries its source text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MixedDepthwise(nn.Module):
    """Depth-wise convolutions, each group of channels with a kernel of its own (Tan and Le, BMVC 2019).

    Args:
        channels: of input and output ``[B, channels, H, W]``; one for each kernel at least.
        kernels: odd sizes, one for each group; the first groups are larger where channels are left over.
    """

    def __init__(self, channels: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.sizes = [channels // len(kernels) + (i < channels % len(kernels)) for i in range(len(kernels))]
        self.parts = nn.ModuleList(
            nn.Conv2d(size, size, kernel, padding=kernel // 2, groups=size, bias=False)
            for size, kernel in zip(self.sizes, kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as x."""
        pieces = torch.split(x, self.sizes, dim=1)
        return torch.cat([part(piece) for part, piece in zip(self.parts, pieces, strict=True)], dim=1)


class InsideAverage(nn.Module):
    """The mean of a map over what lies inside of a shape, so that padding around the shape does not count.

    A pixel of a coarse map counts by its share inside; where nothing is inside, the mean is 0.
    """

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        """``[B, C]`` of x ``[B, C, h, w]`` and maps ``[B, D, k h, k w]``, whose last channel is 1 inside and 0 outside."""
        step = maps.shape[2] // x.shape[2], maps.shape[3] // x.shape[3]
        weight = nn.functional.avg_pool2d(maps[:, -1:], step)
        return (x * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1e-6)
