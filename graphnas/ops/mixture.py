"""Modules of open decisions: all options side by side, and sums of inputs, weighted by what is passed in."""

from __future__ import annotations

import itertools
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
        reads: how many of the inputs each option reads; None: all.
        part: the options read the first of so many parts of an image's channels. The others bypass them, by max pooling
            where the options halve the resolution, times the sum of the row; then the channels are shuffled, so that the
            next operation reads others first (Xu et al., ICLR 2020).

    Attributes:
        recompute: keep the inputs only and run the options once more for the backward pass (activation checkpointing,
            Chen et al., 2016). Running means are updated once all the same.
    """

    def __init__(self, *options: nn.Module, part: int = 1, reads: Sequence[int] | None = None) -> None:
        super().__init__()
        self.options = nn.ModuleList(options)
        self.part = part
        self.reads = None if reads is None else tuple(reads)
        self.silent = tuple(isinstance(option, Zero) for option in options)
        self.recompute = False

    def forward(self, *arguments: Any) -> Tensor:
        """The weighted sum for inputs and a Row."""
        *inputs, row = arguments
        if self.part == 1:
            return self._sum(inputs, row)
        x = inputs[0]
        width = x.shape[1] // self.part
        passed = self._sum([x[:, :width]], row)
        bypass = x[:, width:]
        if passed.shape[2:] != x.shape[2:]:
            bypass = nn.functional.max_pool2d(bypass, 2, 2, ceil_mode=True)
        bypass = bypass * _aligned(row.weights.sum(-1), bypass)
        shuffled: Tensor = torch.cat([passed, bypass], 1).view(len(passed), self.part, width, *passed.shape[2:])
        return shuffled.transpose(1, 2).flatten(1, 2)

    def _sum(self, inputs: Sequence[Any], row: Row) -> Tensor:
        live = [k for k in row.live if not self.silent[k]]
        values: list[Tensor] = []
        # Most options of an image cell begin with a rectified linear unit: several of them share it.
        begins = [_rectifies(self.options[k]) for k in live]
        shared = nn.functional.relu(inputs[0]) if sum(begins) > 1 and not self.recompute else None
        for k, rectified in zip(live, begins, strict=True):
            read = inputs if self.reads is None else inputs[: self.reads[k]]
            option = self.options[k]
            if self.recompute:
                values.append(self._checkpointed(k, read))
            elif rectified and shared is not None:
                values.append(_after_first(option, shared))
            else:
                values.append(option(*read))
        if not live:
            total: Tensor = self.options[row.live[0]](*inputs)
        elif len(live) == 1 and row.weights.ndim == 1 and not row.weights.requires_grad and row.weights[live[0]] == 1:
            total = values[0]  # a single path costs no pass over memory
        elif row.weights.ndim == 1:
            total = _WeightedSum.apply(row.weights[live], *values)  # type: ignore[no-untyped-call]
        else:
            terms = [v * _aligned(row.weights[..., k], v) for k, v in zip(live, values, strict=True)]
            total = torch.stack(terms).sum(0)
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


def _rectifies(option: nn.Module) -> bool:
    return isinstance(option, nn.Sequential) and type(option[0]) is nn.ReLU


def _after_first(option: Any, x: Tensor) -> Tensor:
    for layer in itertools.islice(option, 1, None):
        x = layer(x)
    return x


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


class Share(nn.Module):
    """The sum of the weights of some options: a number, or ``[B]``.

    Args:
        options: their places in the row.
    """

    def __init__(self, options: Sequence[int]) -> None:
        super().__init__()
        self.options = list(options)

    def forward(self, row: Row) -> Tensor:
        """The sum for a Row."""
        return row.weights[..., self.options].sum(-1)


class Zero(nn.Module):
    """Zeros of the input's shape, of every ``stride``-th pixel of an image, or of rows with so many ``features``."""

    def __init__(self, stride: int = 1, features: int | None = None) -> None:
        super().__init__()
        self.stride = stride
        self.features = features

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Zeros."""
        if self.features is not None:
            return torch.zeros(len(x), self.features, dtype=x.dtype, device=x.device)
        return torch.zeros_like(x if self.stride == 1 else x[..., :: self.stride, :: self.stride])


class _WeightedSum(torch.autograd.Function):
    """``sum_k w_k x_k`` with one pass over memory for each term, forward and backward; differentiable twice."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *values: Tensor) -> Tensor:
        """Weights ``[K]`` and K tensors of one shape."""
        ctx.save_for_backward(weights, *(values if ctx.needs_input_grad[0] else ()))
        factors = weights.tolist()
        total: Tensor = values[0] * factors[0]
        for factor, value in zip(factors[1:], values[1:], strict=True):
            total.add_(value, alpha=factor)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of both, where they are wanted."""
        (gradient,) = gradients
        weights, *values = ctx.saved_tensors
        of_weights = torch.stack([_inner(gradient, value) for value in values]) if values else None
        wanted = ctx.needs_input_grad[1:]
        return of_weights, *[gradient * weights[k] if on else None for k, on in enumerate(wanted)]


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """The scalar product; without a copy where both have the same order in memory."""
    if a.ndim == 4:
        a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)  # reshape copies where the order is another
    made: Tensor = torch.dot(a.reshape(-1), b.reshape(-1))
    return made


def scaled(value: Tensor, weight: Tensor) -> Tensor:
    """A value times a weight: one number, or one for each example."""
    return value * _aligned(weight, value)


def loose_mean(*arguments: Tensor) -> Tensor:
    """``(s_n + sum_i w_i s_i) / (1 + sum_i w_i)`` for n values ``s`` followed by the weights of all but the last."""
    count = (len(arguments) + 1) // 2
    values, weights = arguments[:count], arguments[count:]
    total, mass = values[-1], torch.ones_like(weights[0])
    for value, weight in zip(values, weights, strict=False):
        total, mass = total + scaled(value, weight), mass + weight
    return scaled(total, 1 / mass)


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
