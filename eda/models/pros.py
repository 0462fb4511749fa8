"""PROS: "A Plug-in for Routability Optimization Applied in the State-of-the-art Commercial EDA Tool Using Deep Learning" (Chen et al., ICCAD 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eda.models.parts import convolution, on_multiple


class _Residual(nn.Module):
    """Two 3x3 convolutions beside an identity or a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.main = nn.Sequential(
            convolution(inputs, outputs, 3, stride=stride, dilation=dilation),
            nn.Conv2d(outputs, outputs, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.short: nn.Module = nn.Identity()
        if inputs != outputs or stride > 1:
            self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.main(x) + self.short(x))


class _Refinement(nn.Module):
    """``y = conv1x1(x); ReLU(y + conv3x3(ReLU(BN(conv3x3(y)))))``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(inputs, outputs, 1)
        self.main = nn.Sequential(convolution(outputs, outputs, 3), nn.Conv2d(outputs, outputs, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(x)
        return torch.relu(y + self.main(y))


class PROS(nn.Module):
    """Dilated residual encoder, refinement blocks and sub-pixel up-sampling: logits ``[B, 1, H, W]`` of maps ``[B, C, H, W]``.

    Args:
        channels: C.
        width: multiplier of all widths; 1 is the paper's (up to 2,048 features), 1/8 trains on a CPU.
    """

    def __init__(self, channels: int, width: float = 1 / 8) -> None:
        super().__init__()

        def w(features: int) -> int:
            return max(4, int(features * width) // 4 * 4)  # sub-pixel up-sampling divides by 4

        self.stem = convolution(channels, w(64), 7, stride=2)
        self.first = nn.Sequential(nn.MaxPool2d(2), _Residual(w(64), w(256)), _Residual(w(256), w(256)))
        self.deeper = nn.Sequential(
            _Residual(w(256), w(512), stride=2),
            _Residual(w(512), w(512)),
            _Residual(w(512), w(1024), dilation=2),
            _Residual(w(1024), w(1024), dilation=2),
            _Residual(w(1024), w(2048), dilation=4),
            _Residual(w(2048), w(2048), dilation=4),
        )
        self.bottom = nn.Sequential(_Refinement(w(2048), 4 * w(128)), nn.PixelShuffle(2))
        self.of_first = _Refinement(w(256), w(128))
        self.middle = nn.Sequential(_Refinement(w(128), 4 * w(32)), nn.PixelShuffle(2))
        self.of_stem = _Refinement(w(64), w(32))
        self.top = nn.Sequential(_Refinement(w(32), w(8)), nn.PixelShuffle(2), nn.Conv2d(w(8) // 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return on_multiple(x, 8, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        first = self.first(stem)
        y = self.bottom(self.deeper(first)) + self.of_first(first)
        made: Tensor = self.top(self.middle(y) + self.of_stem(stem))
        return made
