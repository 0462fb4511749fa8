"""A region in which convolutions and batch normalisation are built so that differentiating twice is quick."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from graphnas.ops import batch_norm, convolution


class TwiceDifferentiable(TorchFunctionMode):
    """Inside, these two functions of torch have the same values and gradients, and quicker second derivatives on a CPU.

    What is computed inside may be differentiated twice outside of the region, not three times. Elsewhere the usual functions are
    better: they keep fewer tensors.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """The function's value; see ``torch.overrides.TorchFunctionMode``."""
        kwargs = kwargs or {}
        if torch.is_grad_enabled():
            if func is functional.conv2d and (geometry := _geometry(*args, **kwargs)) is not None:
                x, weight, bias = _operands(*args, **kwargs)
                made = convolution.differentiable(x, weight, geometry)
                return made if bias is None else made + bias[:, None, None]
            if func is functional.batch_norm and (own := _statistics(*args, **kwargs)) is not None:
                return batch_norm.differentiable(*own)
        return func(*args, **kwargs)


def _operands(x: Tensor, weight: Tensor, bias: Tensor | None = None, *_: Any, **__: Any) -> tuple[Any, ...]:
    return x, weight, bias


def _geometry(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> convolution.Geometry | None:
    """That of a call of conv2d, or None where it is left to torch."""
    if isinstance(padding, str) or input.dim() != 4 or input.device.type != "cpu":
        return None
    return convolution.Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)


def _pair(value: Any) -> convolution.Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _statistics(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Any, ...] | None:
    """The arguments of our batch normalisation, or None where it is left to torch."""
    if not training or input.device.type != "cpu" or input.numel() <= input.shape[1]:
        return None
    return input, running_mean, running_var, weight, bias, momentum, eps
