"""Sums over neighbours as products with sparse matrices, whose transposes are kept for the backward pass.

PyTorch's own sparse product transposes the matrix at every backward pass, and gather-scatter writes one row of features
for every edge. Here the matrix stays in compressed rows (CSR) both ways, so that forward and backward pass are one
product each. All functions can be differentiated any number of times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from graphnas.ops.sparse_matrix import Incidence, Pattern, SparseMatrix


def eager() -> bool:
    """Whether operations run one by one as written: not compiled, exported, in ``torch.func`` or in mixed precision."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is None and not torch.is_autocast_enabled("cpu")


def apply(function: type[Function], *arguments: Any) -> Tensor:
    """The (first) result of an autograd function."""
    result = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return result[0] if isinstance(result, tuple) else result  # type: ignore[no-any-return]


def _times(matrix: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """``matrix @ x`` for a torch CSR matrix; unlike the operator ``@``, it neither clears nor copies the result."""
    if out is None:
        out = x.new_empty(matrix.shape[0], x.shape[1])
    return torch.addmm(out, matrix, x, beta=0.0, out=out)  # with beta = 0, what is in ``out`` does not count


def product(matrix: SparseMatrix, x: Tensor) -> Tensor:
    """``matrix @ x`` for ``x [columns, F]``: ``[rows, F]``; differentiable in x."""
    return apply(_Product, x, matrix)


class _Product(Function):
    @staticmethod
    def forward(x: Tensor, matrix: SparseMatrix) -> Tensor:
        return _times(matrix.csr(x.dtype), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.matrix = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return product(ctx.matrix.transposed, grad), None


def transposed_product(matrix: SparseMatrix, x: Tensor) -> Tensor:
    """``matrix^T @ x`` for ``x [rows, F]``: ``[columns, F]``; differentiable in x."""
    return apply(_TransposedProduct, x, matrix)


class _TransposedProduct(Function):
    @staticmethod
    def forward(x: Tensor, matrix: SparseMatrix) -> Tensor:
        return _times(matrix.transposed.csr(x.dtype), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.matrix = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return product(ctx.matrix, grad), None


def weighted_product(pattern: Pattern, values: Tensor, x: Tensor) -> Tensor:
    """One product a head: ``values [H, entries]`` and ``x [H, columns, C]`` give ``[H, rows, C]``.

    Differentiable in values and x.
    """
    return apply(_WeightedProduct, values, x, pattern)


def _reordered(values: Tensor, pattern: Pattern) -> Tensor:
    """``values [H, entries]`` in the order of the transposed pattern; all heads of an entry are moved together."""
    return values.t().contiguous().index_select(0, pattern.order).t()


class _WeightedProduct(Function):
    @staticmethod
    def forward(values: Tensor, x: Tensor, pattern: Pattern) -> Tensor:
        out = x.new_empty(len(x), pattern.shape[0], x.shape[2])
        for head, (weights, features) in enumerate(zip(values.contiguous(), x, strict=True)):
            _times(pattern.csr(weights), features, out[head])
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.pattern = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, x = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        for_values = entry_dot(pattern, grad, x) if ctx.needs_input_grad[0] else None
        for_x = None
        if ctx.needs_input_grad[1]:
            for_x = weighted_product(pattern.transposed, _reordered(values, pattern), grad)
        return for_values, for_x, None


def entry_dot(pattern: Pattern, a: Tensor, b: Tensor) -> Tensor:
    """Inner products at the entries only: ``a [H, rows, C]`` and ``b [H, columns, C]`` give ``[H, entries]``."""
    return apply(_EntryDot, a, b, pattern)


class _EntryDot(Function):
    @staticmethod
    def forward(a: Tensor, b: Tensor, pattern: Pattern) -> Tensor:
        blank = pattern.blank(a.dtype)
        short = -a.shape[2] % 8  # whole vector registers are several times faster than what is left over
        if short:
            a, b = (torch.nn.functional.pad(t, (0, short)) for t in (a, b))
        out = a.new_empty(len(a), len(pattern))
        for head, (left, right) in enumerate(zip(a.contiguous(), b.contiguous(), strict=True)):
            out[head] = torch.sparse.sampled_addmm(blank, left, right.t(), beta=0.0).values()
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.pattern = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        a, b = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        for_a = weighted_product(pattern, grad, b) if ctx.needs_input_grad[0] else None
        for_b = None
        if ctx.needs_input_grad[1]:
            for_b = weighted_product(pattern.transposed, _reordered(grad, pattern), a)
        return for_a, for_b, None


def gather(incidence: Incidence, x: Tensor) -> Tensor:
    """For each edge the row of its node: ``x [N, F]`` gives ``[E, F]``."""
    return apply(_Gather, x, incidence)


def collect(incidence: Incidence, x: Tensor) -> Tensor:
    """For each node the sum over its edges: ``x [E, F]`` gives ``[N, F]``; the transpose of ``gather``."""
    return apply(_Collect, x, incidence)


class _Gather(Function):
    @staticmethod
    def forward(x: Tensor, incidence: Incidence) -> Tensor:
        return x.index_select(0, incidence.index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.incidence = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return collect(ctx.incidence, grad), None


class _Collect(Function):
    @staticmethod
    def forward(x: Tensor, incidence: Incidence) -> Tensor:
        return _times(incidence.ones(x.dtype), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.incidence = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return gather(ctx.incidence, grad), None
