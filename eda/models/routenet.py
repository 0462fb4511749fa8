"""RouteNet: "Routability Prediction for Mixed-Size Designs Using Convolutional Neural Network" (Xie et al., ICCAD 2018).

The hotspot network follows the authors' code; the counting network is the ResNet-18 (He et al., CVPR 2016) that RouteNet uses for the number of
violations, with one output and Xavier's initial weights instead of ImageNet's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eda.models.parts import convolution, on_multiple, transposed


class RouteNetFCN(nn.Module):
    """Logits ``[B, 1, H, W]`` of maps ``[B, C, H, W]``.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.first = nn.Sequential(convolution(channels, 32, 9), nn.MaxPool2d(2))
        self.middle = nn.Sequential(
            convolution(32, 64, 7),
            nn.MaxPool2d(2),
            convolution(64, 32, 9),
            convolution(32, 32, 7),
            transposed(32, 16, 9),
        )
        self.last = nn.Sequential(convolution(48, 16, 5), transposed(16, 4, 5), nn.Conv2d(4, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return on_multiple(x, 4, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        skip = self.first(self.norm(x))
        made: Tensor = self.last(torch.cat([self.middle(skip), skip], dim=1))
        return made


class _Block(nn.Module):
    """Two 3x3 convolutions beside an identity or a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            convolution(inputs, outputs, 3, stride=stride),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.short: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.main(x) + self.short(x))


class RouteNetCount(nn.Module):
    """ResNet-18 with one output ``[B, 1]`` for maps ``[B, C, H, W]``.

    Args:
        channels: C.
        width: features of the first stage, 64 in the paper.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(channels, width, 7, stride=2), nn.MaxPool2d(3, 2, 1))
        blocks: list[nn.Module] = []
        before = width
        for stage in range(4):
            after = width * 2**stage
            blocks += [_Block(before, after, 2 if stage else 1), _Block(after, after, 1)]
            before = after
        self.stages = nn.Sequential(*blocks)
        self.last = nn.Linear(before, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        made: Tensor = self.last(self.stages(self.stem(x)).mean((2, 3)))
        return made
