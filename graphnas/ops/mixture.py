"""Modules of open decisions: all options side by side, and sums of inputs, weighted by what is passed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


class Row(NamedTuple):
    """The weights of one decision's options.

    Attributes:
        weights: ``[K]``, or ``[B, K]`` with one row for each example.
        live: the options that run; the others have the weight zero.
        rest: the weights of the others are added as they are. They are zero, so this changes no output, but it passes them a
            gradient (Dong & Yang, CVPR 2019, do so).
    """

    weights: Tensor
    live: tuple[int, ...]
    rest: bool = False


class Mixed(nn.Module):
    """``sum_k w_k option_k(x)`` over the live options of a Row, the last argument of ``forward``.

    Args:
        *options: modules with equal output shapes; a Zero never runs unless nothing else does.

    Attributes:
        recompute: keep the inputs only and run the options once more for the backward pass (activation checkpointing,
            Chen et al., 2016). Running means are updated once all the same.
    """

    def __init__(self, *options: nn.Module) -> None:
        super().__init__()
        self.options = nn.ModuleList(options)
        self.silent = tuple(isinstance(option, Zero) for option in options)
        self.recompute = False

    def forward(self, *arguments: Any) -> Tensor:
        """The weighted sum for inputs and a Row."""
        *inputs, row = arguments
        total: Tensor | None = None
        for k in row.live:
            if self.silent[k]:
                continue
            value = self._checkpointed(k, inputs) if self.recompute else self.options[k](*inputs)
            term = value * _aligned(row.weights[..., k], value)
            total = term if total is None else total + term
        if total is None:
            total = self.options[row.live[0]](*inputs)
        if row.rest and len(row.live) < row.weights.shape[-1]:
            others = [k for k in range(row.weights.shape[-1]) if k not in row.live]
            total = total + _aligned(row.weights[..., others].sum(-1), total)
        return total

    def _checkpointed(self, k: int, inputs: Sequence[Tensor]) -> Tensor:
        option = self.options[k]
        # A functional call swaps weights for its duration only, and the second run comes later: it is given the weights of
        # the first one, and copies of the buffers, so that running means are not updated twice.
        weights: dict[str, Tensor] = dict(option.named_parameters())
        runs = [weights, {**weights, **{name: b.clone() for name, b in option.named_buffers()}}]

        def run(*given: Tensor) -> Any:
            return functional_call(option, runs.pop(0) if len(runs) > 1 else runs[0], given)

        return checkpoint(run, *inputs, use_reentrant=False)  # type: ignore[no-any-return]


class Select(nn.Module):
    """``sum_i w_i x_i`` over inputs of one shape: an input that is still open.

    Args:
        place: for each option of the decision the input that it stands for, or -1 for none.
    """

    def __init__(self, place: Sequence[int]) -> None:
        super().__init__()
        self.place = tuple(place)

    def forward(self, *arguments: Any) -> Tensor:
        """The weighted sum for inputs and a Row."""
        *inputs, row = arguments
        total: Tensor | None = None
        for k in row.live:
            if self.place[k] >= 0:
                value = inputs[self.place[k]]
                term = value * _aligned(row.weights[..., k], value)
                total = term if total is None else total + term
        return torch.zeros_like(inputs[0]) if total is None else total


class Zero(nn.Module):
    """Zeros of the input's shape, of every ``stride``-th pixel of an image."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros_like(x if self.stride == 1 else x[..., :: self.stride, :: self.stride])


def product(*rows: Row) -> Row:
    """The row of several decisions together: its options are their combinations, the last decision fastest."""
    first, *others = rows
    for other in others:
        size = other.weights.shape[-1]
        weights = (first.weights[..., :, None] * other.weights[..., None, :]).flatten(-2)
        first = Row(weights, tuple(i * size + j for i in first.live for j in other.live), first.rest or other.rest)
    return first


def _aligned(weight: Tensor, value: Tensor) -> Tensor:
    """A weight that multiplies a value: one number, or one for each example."""
    return weight if weight.ndim == 0 else weight.view(-1, *[1] * (value.ndim - 1))
