"""Layers that PyTorch lacks. Each class needs PyTorch only: an exported network carries its source text."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FactorizedReduce(nn.Module):
    """Half the resolution by two 1x1 convolutions of stride 2, one of them a pixel further on: ReLU, join, normalise.

    Source: the released code of Liu, Simonyan & Yang (ICLR 2019). Odd sizes are filled up with zeros.

    Of less than eight channels, every second pixel is taken before the convolution, which is the same: oneDNN's AVX2 kernel for the
    weights' gradient of a strided 1x1 convolution (PyTorch 2.13) writes beyond its memory where so few channels come last (seen with
    two, three and four, not with nine and more).
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.step, stride = (2, 1) if in_channels < 8 else (1, 2)
        self.first = nn.Conv2d(in_channels, out_channels // 2, 1, stride, bias=False)
        self.second = nn.Conv2d(in_channels, out_channels - out_channels // 2, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """From ``[B, C, H, W]`` to ``[B, out_channels, ceil(H / 2), ceil(W / 2)]``."""
        x = self.relu(x)
        shifted = nn.functional.pad(x, (-1, 1, -1, 1))
        x, shifted = x[:, :, :: self.step, :: self.step], shifted[:, :, :: self.step, :: self.step]
        return self.norm(torch.cat([self.first(x), self.second(shifted)], dim=1))  # type: ignore[no-any-return]


class DropPath(nn.Module):
    """In training, zero whole examples with probability ``p`` and rescale the others (Larsson et al., ICLR 2017).

    ``set_progress`` raises the probability from 0 to ``p`` over the training, as Zoph et al. (CVPR 2018) do.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.now = p

    def set_progress(self, progress: float) -> None:
        """Set the probability for a training that is done to the share ``progress``."""
        self.now = self.p * progress

    def forward(self, x: Tensor) -> Tensor:
        """The input, with some examples zeroed in training."""
        if not self.training or self.now == 0:
            return x
        keep = torch.full((len(x), *[1] * (x.ndim - 1)), 1 - self.now, dtype=x.dtype, device=x.device)
        return x * torch.bernoulli(keep) / (1 - self.now)


class Noise(nn.Module):
    """Standard normal noise of the input's shape, of every ``stride``-th pixel."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Fresh noise at every call."""
        return torch.randn_like(x if self.stride == 1 else x[..., :: self.stride, :: self.stride])
