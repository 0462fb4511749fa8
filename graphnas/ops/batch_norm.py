"""Batch normalisation by the batch's own statistics whose second derivative reads its inputs a few times only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def differentiable(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """``torch.nn.functional.batch_norm`` in training, differentiable twice.

    Args:
        x: ``[B, C, ...]``.
        running_mean: ``[C]``, moved in place; or None.
        running_var: ``[C]``, moved in place; or None.
        weight: ``[C]`` or None.
        bias: ``[C]`` or None.
        momentum: share of the batch in the running statistics.
        eps: added to the variance.
    """
    return _Norm.apply(x, weight, bias, running_mean, running_var, momentum, eps)  # type: ignore[no-any-return, no-untyped-call]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        made, mean, scale = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        of_x, of_weight, of_bias = _Gradients.apply(*gradients, x, weight, mean, scale)  # type: ignore[no-untyped-call]
        wanted = ctx.needs_input_grad
        return of_x, of_weight if wanted[1] else None, of_bias if wanted[2] else None, None, None, None, None


class _Gradients(torch.autograd.Function):
    """The gradients by x, weight and bias as functions of the output's gradient g, of x and of the weight.

    With ``h = (x - mean) * scale`` and means over all but the channels, the gradient by x is
    ``weight * scale * (g - mean(g) - h * mean(g h))``.
    """

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_x, of_weight, of_bias = _first(gradient, x, weight, mean, scale)
        ctx.save_for_backward(gradient, x, weight, mean, scale, of_weight, of_bias)
        ctx.set_materialize_grads(False)
        return of_x, of_weight, of_bias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_x: Tensor | None, by_weight: Tensor | None, by_bias: Tensor | None) -> tuple[Any, ...]:
        gradient, x, weight, mean, scale, gh, g = ctx.saved_tensors
        n = x.numel() // x.shape[1]
        factor = scale if weight is None else weight * scale
        # Coefficients, [C], of v = by_x, g, x - mean and 1; h = (x - mean) * scale.
        of_gradient, of_weight = None, None
        on_g, on_x, on_one = torch.zeros_like(scale), torch.zeros_like(scale), torch.zeros_like(scale)
        of_x: Tensor | None = None
        if by_x is not None:
            of_gradient, vh, v = _first(by_x, x, weight, mean, scale)
            v, vh, g_mean, gh_mean = v / n, vh / n, g / n, gh / n
            along = (by_x * gradient).sum(_others(x)) / n - v * g_mean
            if ctx.needs_input_grad[2]:
                of_weight = n * scale * (along - vh * gh_mean)
            # The derivative of  n * factor * (along - vh gh)  by x; each of its parts is a multiple of v, g, h or 1.
            on_g = -factor * scale * vh
            on_v = -factor * scale * gh_mean
            on_x = -factor * scale * scale * (along - 3 * vh * gh_mean)
            on_one = -on_v * v - on_g * g_mean
            of_x = by_x * _wide(on_v, x)
        if by_weight is not None:  # sum(g h)
            h = (x - _wide(mean, x)) * _wide(scale, x)
            extra = h * _wide(by_weight, x)
            of_gradient = extra if of_gradient is None else of_gradient.add_(extra)
            on_g = on_g + by_weight * scale
            on_one = on_one - by_weight * scale * g / n
            on_x = on_x - by_weight * scale * scale * gh / n
        if by_bias is not None:  # sum(g)
            extra = _wide(by_bias, x).expand_as(x)
            of_gradient = extra if of_gradient is None else of_gradient.add_(extra)
        if (by_x is None and by_weight is None) or not ctx.needs_input_grad[1]:
            return of_gradient, None, of_weight, None, None
        rest = torch.addcmul(_wide(on_one - on_x * mean, x), x, _wide(on_x, x))
        of_x = rest if of_x is None else of_x.add_(rest)
        return of_gradient, of_x.addcmul_(gradient, _wide(on_g, x)), of_weight, None, None


def _first(
    gradient: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient by x, and the sums of ``gradient * h`` and of ``gradient``."""
    return torch.ops.aten.native_batch_norm_backward(  # type: ignore[no-any-return]
        gradient, x, weight, None, None, mean, scale, True, 0.0, (True, True, True)
    )


def _others(x: Tensor) -> tuple[int, ...]:
    return (0, *range(2, x.dim()))


def _wide(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))
