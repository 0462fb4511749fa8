"""Depthwise convolutions with the gradients of PyTorch's, but quicker ones where its kernels for a CPU are slow."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from graphnas.ops.convolution import Geometry, differentiable


class Depthwise(nn.Conv2d):
    """A depthwise convolution of odd size that keeps the resolution, or halves it.

    It computes what ``nn.Conv2d`` computes, with two changes, each where it was seen to be quicker on a CPU:

    * With the dilation as its stride, a convolution reads every d-th pixel only. These are taken first, and convolved with neither
      stride nor dilation. This is the largest gain, several times.
    * Where kernels are dilated, or large with weights that want no gradient in the same pass, the gradients are those of
      ``graphnas.ops.convolution``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """From ``[B, C, H, W]`` to ``[B, C, ceil(H / stride), ceil(W / stride)]``."""
        stride, dilation = self.stride[0], self.dilation[0]
        if stride == dilation and stride > 1:
            x = x[..., ::stride, ::stride].contiguous(memory_format=_order(x))
            stride, dilation = 1, 1
        large = self.kernel_size[0] > 3 and not self.weight.requires_grad
        if stride == 1 and x.requires_grad and (dilation > 1 or large):
            padding = dilation * (self.kernel_size[0] // 2)
            return differentiable(x, self.weight, Geometry((1, 1), (padding,) * 2, (dilation,) * 2, self.groups))
        return conv2d(x, self.weight, None, stride, dilation * (self.kernel_size[0] // 2), dilation, self.groups)


def quicken(network: nn.Module) -> None:
    """Put a Depthwise with the same weight in the place of every convolution that it can stand for."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d and _suits(child):
                made = Depthwise(
                    child.in_channels,
                    child.out_channels,
                    child.kernel_size[0],
                    child.stride[0],
                    child.dilation[0] * (child.kernel_size[0] // 2),
                    child.dilation[0],
                    child.groups,
                    bias=False,
                    device="meta",
                )
                made.weight = child.weight
                setattr(parent, name, made.train(child.training))


def _suits(layer: nn.Conv2d) -> bool:
    (k, width), (s, other), (d, _) = layer.kernel_size, layer.stride, layer.dilation
    square = k == width and s == other and layer.dilation == (d, d) and layer.padding == (d * (k // 2),) * 2
    depthwise = layer.groups == layer.in_channels == layer.out_channels
    return square and depthwise and k % 2 == 1 and layer.bias is None and layer.padding_mode == "zeros"


def _order(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
