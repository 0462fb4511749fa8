"""Smaller convolutional baselines: U-Net, FLNet, J-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eda.models.parts import convolution, on_multiple


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs, 3), convolution(outputs, outputs, 3))


class UNet(nn.Module):
    """U-Net (Ronneberger et al., MICCAI 2015): logits ``[B, 1, H, W]`` of maps ``[B, C, H, W]``.

    Args:
        channels: C.
        width: features at full resolution; they double at each of the lower ones.
        depth: number of resolutions.
    """

    def __init__(self, channels: int, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([channels, *widths], widths, strict=False))
        self.up = nn.ModuleList(_twice(widths[i] + widths[i - 1], widths[i - 1]) for i in range(depth - 1, 0, -1))
        self.last = nn.Conv2d(width, 1, 1)
        self.multiple = 2 ** (depth - 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return on_multiple(x, self.multiple, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        made: Tensor = self.last(x)
        return made


class FLNet(nn.Module):
    """Two 9x9 convolutions (Pan et al., "Towards Collaborative Intelligence", DAC 2022): logits ``[B, 1, H, W]``.

    Args:
        channels: of the maps ``[B, channels, H, W]``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 64, 9, padding=4), nn.ReLU(), nn.Conv2d(64, 1, 9, padding=4))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        made: Tensor = self.layers(x)
        return made


class JNet(nn.Module):
    """J-Net (Liang et al., ISPD 2020): an encoder that is longer than the decoder, so that fine maps give tile-level logits.

    The paper reads pin shapes at a finer resolution than tiles. Here a fine map is the tile map doubled by interpolation at the entry, so the
    network keeps the J: one more level down than up.

    Args:
        channels: of the maps ``[B, channels, H, W]``; logits are ``[B, 1, H, W]``.
        width: features at the finest resolution.
    """

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        self.fine = _twice(channels, width)
        self.down = nn.ModuleList([_twice(width + channels, 2 * width), _twice(2 * width, 4 * width)])
        self.bottom = _twice(4 * width, 8 * width)
        self.up = nn.ModuleList([_twice(12 * width, 4 * width), _twice(6 * width, 2 * width)])
        self.last = nn.Conv2d(2 * width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return on_multiple(x, 4, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        fine = self.fine(functional.interpolate(x, scale_factor=2, mode="nearest"))
        tile = self.down[0](torch.cat([functional.max_pool2d(fine, 2), x], dim=1))
        half = self.down[1](functional.max_pool2d(tile, 2))
        y = self.bottom(functional.max_pool2d(half, 2))
        for block, skip in zip(self.up, (half, tile), strict=True):
            y = block(torch.cat([functional.interpolate(y, scale_factor=2, mode="nearest"), skip], dim=1))
        made: Tensor = self.last(y)
        return made
