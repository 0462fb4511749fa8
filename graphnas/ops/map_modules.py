"""Modules of the operations on maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphnas.ops.maps import split


class MixedDepthwise(nn.Module):
    """Depth-wise convolutions, each group of channels with a kernel of its own (Tan and Le, BMVC 2019).

    Args:
        channels: of input and output ``[B, channels, H, W]``.
        kernels: odd sizes, one for each group.
    """

    def __init__(self, channels: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.sizes = split(channels, len(kernels))
        self.parts = nn.ModuleList(
            nn.Conv2d(size, size, kernel, padding=kernel // 2, groups=size, bias=False)
            for size, kernel in zip(self.sizes, kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as x."""
        pieces = torch.split(x, self.sizes, dim=1)
        return torch.cat([part(piece) for part, piece in zip(self.parts, pieces, strict=True)], dim=1)
