"""Modules of mobile networks that PyTorch lacks. Each class needs PyTorch only: an exported network carries its source text."""

from __future__ import annotations

from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Channels scaled by a gate that reads their means (Hu, Shen & Sun, CVPR 2018).

    Args:
        channels: of input and output ``[B, channels, H, W]``.
        reduced: width of the gate's hidden layer.
        activation: between the two linear maps.
    """

    def __init__(self, channels: int, reduced: int, activation: nn.Module) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.activation = activation
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as x."""
        gate = self.expand(self.activation(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()  # type: ignore[no-any-return]


class Residual(nn.Module):
    """The sum of two paths from the same input."""

    def __init__(self, body: nn.Module, short_cut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.short_cut = short_cut

    def forward(self, x: Tensor) -> Tensor:
        """Both paths must give the same shape."""
        return self.body(x) + self.short_cut(x)  # type: ignore[no-any-return]
