"""What attention needs beside products: softmax over the neighbours, largest messages, additive scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from graphnas.ops.aggregate import apply, collect, gather
from graphnas.ops.sparse_matrix import Pattern


def softmax(pattern: Pattern, scores: Tensor) -> Tensor:
    """``scores [entries, H]`` normalised over each row of the pattern: positive, with sum 1 in every row and column h."""
    return apply(_Softmax, scores, pattern)


class _Softmax(Function):
    @staticmethod
    def forward(scores: Tensor, pattern: Pattern) -> Tensor:
        rows = pattern.by_row
        # The largest score of each row is taken off first, so that no exponential overflows.
        largest = torch.sparse.mm(rows.ones(scores.dtype), scores.detach().contiguous(), "amax")
        weights = torch.sub(scores, largest.index_select(0, rows.index)).exp_()
        total = rows.ones(scores.dtype) @ weights
        return weights.div_(total.index_select(0, rows.index))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.pattern = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        rows = ctx.pattern.by_row
        pushed = weights * grad
        return pushed - weights * gather(rows, collect(rows, pushed)), None


def maximum(pattern: Pattern, values: Tensor, x: Tensor) -> Tensor:
    """Largest of the weighted columns in each row, feature by feature, one head at a time.

    ``values [H, entries]`` and ``x [H, columns, C]`` give ``out[h, i, c] = max_k values[h, k] x[h, columns[k], c]`` over the
    entries k of row i, and 0 for a row without entries. Differentiable in both; of equal messages one gets the gradient.
    """
    return apply(_Maximum, values, x, pattern)


class _Maximum(Function):
    @staticmethod
    def forward(values: Tensor, x: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
        found = [
            _largest(pattern, weights, features)
            for weights, features in zip(values.contiguous(), x.contiguous(), strict=True)
        ]
        return torch.stack([out for out, _ in found]), torch.stack([place for _, place in found])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[:2], output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.pattern = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, Tensor | None, None]:
        values, x, where = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        if len(pattern) == 0:
            return torch.zeros_like(values), torch.zeros_like(x), None
        if int(pattern.counts.min()) == 0:  # rows without entries point behind the last one
            grad = grad * (where < len(pattern))
            where = where.clamp(max=len(pattern) - 1)
        width = x.shape[2]
        channels = torch.arange(width, dtype=torch.int32 if x[0].numel() < 2**31 else torch.int64)
        for_values, for_x = [], []
        for weights, features, places, inner in zip(values, x, where, grad.flatten(1), strict=True):
            place = places.flatten()
            column = pattern.columns.index_select(0, place).view(-1, width)
            source = (column.to(channels.dtype) * width + channels).flatten()  # of each number, where it came from
            if ctx.needs_input_grad[0]:
                products = inner * features.flatten().index_select(0, source)
                for_values.append(torch.zeros_like(weights).index_add(0, place, products))
            if ctx.needs_input_grad[1]:
                weighted = inner * weights.index_select(0, place)
                total = weighted.new_zeros(features.numel()).index_add(0, source, weighted)
                for_x.append(total.view_as(features))
        return torch.stack(for_values) if for_values else None, torch.stack(for_x) if for_x else None, None


def _largest(pattern: Pattern, weights: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Largest messages of one head ``[rows, C]``, and the entries that they came from (int32)."""
    if len(pattern) == 0:
        shape = (pattern.shape[0], features.shape[1])
        return features.new_zeros(shape), torch.zeros(shape, dtype=torch.int32)
    with torch.enable_grad():  # only then does the kernel tell where it found the maximum
        tracked = features.detach().requires_grad_()
        out, place = torch.ops.aten._sparse_mm_reduce_impl(pattern.csr(weights.detach()), tracked, "amax")
    return out.detach(), place.int()


def tanh_score(pattern: Pattern, a: Tensor, b: Tensor, vector: Tensor) -> Tensor:
    """Additive attention scores ``sum_c vector[h, c] tanh(a[i, h, c] + b[j, h, c])`` for every entry (i, j).

    ``a [rows, H, C]``, ``b [columns, H, C]``, ``vector [H, C]`` give ``[entries, H]``. One head is worked on at a time and
    computed again in the backward pass: the ``entries x H x C`` numbers in between would not fit for large graphs.
    """
    return apply(_TanhScore, a, b, vector, pattern)


def _tanh(pattern: Pattern, a: Tensor, b: Tensor, head: int) -> Tensor:
    left = gather(pattern.by_row, a[:, head].contiguous())
    return torch.tanh(left + gather(pattern.by_column, b[:, head].contiguous()))


class _TanhScore(Function):
    @staticmethod
    def forward(a: Tensor, b: Tensor, vector: Tensor, pattern: Pattern) -> Tensor:
        return torch.stack([_tanh(pattern, a, b, head) @ vector[head] for head in range(len(vector))], 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.pattern = inputs[3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        a, b, vector = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        for_a, for_b, for_vector = [], [], []
        for head in range(len(vector)):
            score = grad[:, head]
            hidden = _tanh(pattern, a, b, head)
            for_vector.append(score @ hidden)
            inner = score[:, None] * vector[head] * (1 - hidden * hidden)
            for_a.append(collect(pattern.by_row, inner))
            for_b.append(collect(pattern.by_column, inner))
        return torch.stack(for_a, 1), torch.stack(for_b, 1), torch.stack(for_vector), None
