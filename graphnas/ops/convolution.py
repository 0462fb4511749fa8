"""Two-dimensional convolutions whose second derivatives are as quick as their first ones on a CPU.

PyTorch differentiates a convolution's gradient group by group: for a depthwise convolution of 64 channels these are 64 small
convolutions. Here every second derivative is a convolution, or a gradient of one, of the whole.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """How the kernel moves; pairs are (vertical, horizontal)."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


def differentiable(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """``torch.nn.functional.conv2d`` without bias, differentiable twice.

    Args:
        x: ``[B, C, H, W]``.
        weight: ``[out, C / groups, k_h, k_w]``.
        geometry: of the convolution.
    """
    return _Convolution.apply(x, weight, geometry)  # type: ignore[no-any-return, no-untyped-call]


class _Convolution(torch.autograd.Function):
    """The convolution."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        """Saves both inputs."""
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return conv2d(x, weight, None, *geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """The gradients of both, where they are wanted."""
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            return *_Gradients.apply(gradient, x, weight, ctx.geometry, wanted), None  # type: ignore[no-untyped-call]
        of_x = gradient_of_input(gradient, x, weight, ctx.geometry) if wanted[0] else None
        of_weight = gradient_of_weight(gradient, x, weight, ctx.geometry) if wanted[1] else None
        return of_x, of_weight, None


class _Gradients(torch.autograd.Function):
    """The gradients of a convolution by its inputs, as functions of the output's gradient and of the inputs.

    Both are linear in the output's gradient; that of x is linear in the weight, and that of the weight in x.
    """

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Those that are wanted, else None."""
        ctx.save_for_backward(gradient, x, weight)
        ctx.set_materialize_grads(False)
        ctx.geometry = geometry
        of_x = gradient_of_input(gradient, x, weight, geometry) if wanted[0] else None
        of_weight = gradient_of_weight(gradient, x, weight, geometry) if wanted[1] else None
        return of_x, of_weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_x: Tensor | None, by_weight: Tensor | None) -> tuple[Any, ...]:
        """By the output's gradient, x and the weight, given what multiplies the two gradients."""
        gradient, x, weight = ctx.saved_tensors
        geometry = ctx.geometry
        of_gradient = of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            parts = [] if by_x is None else [conv2d(by_x, weight, None, *geometry)]
            parts += [] if by_weight is None else [conv2d(x, by_weight, None, *geometry)]
            of_gradient = parts[0].add_(parts[1]) if len(parts) == 2 else parts[0] if parts else None
        if ctx.needs_input_grad[1] and by_weight is not None:
            of_x = gradient_of_input(gradient, x, by_weight, geometry)
        if ctx.needs_input_grad[2] and by_x is not None:
            of_weight = gradient_of_weight(gradient, by_x, weight, geometry)
        return of_gradient, of_x, of_weight, None, None


def gradient_of_input(gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """``[B, C, H, W]``; of x only the shape matters.

    Where a depthwise convolution of odd size keeps the resolution, this is the convolution of the output's gradient with the kernel
    turned round: forward kernels are quicker than backward ones if they are large or dilated.
    """
    if _keeps(weight, geometry) and (geometry.dilation[0] > 1 or weight.shape[-1] > 3):
        return conv2d(gradient, weight.flip(2, 3), None, *geometry)
    return _backward(gradient, x, weight, geometry, (True, False))[0]


def gradient_of_weight(gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """``[out, C / groups, k_h, k_w]``; of the weight only the shape matters.

    The pixels of a dilated convolution that keeps the resolution fall into d x d images that do not read each other. The gradient of
    a 3x3 kernel, or of one that is larger than the image, is quicker as that of an undilated one over these.
    """
    d, k, (height, width) = geometry.dilation[0], weight.shape[-1], x.shape[2:]
    if d > 1 and _keeps(weight, geometry) and height % d == width % d == 0:
        if k == 3 or d * (k - 1) >= min(height, width):
            gradient, x = _apart(gradient, d), _apart(x, d)
            geometry = geometry._replace(padding=(k // 2,) * 2, dilation=(1, 1))
    return _backward(gradient, x, weight, geometry, (False, True))[1]


def _keeps(weight: Tensor, geometry: Geometry) -> bool:
    """Whether a depthwise convolution with a square kernel of odd size keeps the resolution."""
    k, d = weight.shape[-1], geometry.dilation[0]
    depthwise = weight.shape[1] == 1 and geometry.groups == len(weight)
    square = weight.shape[2] == k and k % 2 == 1 and geometry.dilation == (d, d)
    return depthwise and square and geometry.stride == (1, 1) and geometry.padding == (d * (k // 2),) * 2


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor, None]:
    stride, padding, dilation, groups = geometry
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        gradient, x, weight, None, stride, padding, dilation, False, (0, 0), groups, (*wanted, False)
    )


def _apart(x: Tensor, d: int) -> Tensor:
    """``[B, C, H, W]`` as ``[d * d * B, C, H / d, W / d]``: every d-th row and column."""
    b, c, height, width = x.shape
    cut = x.permute(0, 2, 3, 1).reshape(b, height // d, d, width // d, d, c).permute(2, 4, 0, 1, 3, 5)
    return cut.reshape(d * d * b, height // d, width // d, c).permute(0, 3, 1, 2)
