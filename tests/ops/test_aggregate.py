"""Sparse products: against dense matrices, and their derivatives of first and second order against differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from graphnas.ops.aggregate import collect, entry_dot, gather, product, weighted_product
from graphnas.ops.sparse_matrix import Pattern, SparseMatrix

ROWS, COLUMNS, ENTRIES, HEADS = 6, 5, 14, 3


def pattern(entries: int = ENTRIES) -> Pattern:
    """The last row and the first column are empty; some entries lie at one place."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(ROWS - 1, (entries,), generator=generator)
    columns = torch.randint(1, COLUMNS, (entries,), generator=generator)
    return Pattern.of(rows, columns, (ROWS, COLUMNS))


def random(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def dense(p: Pattern, values: Tensor) -> Tensor:
    """The matrix of a pattern; what lies at one place is added."""
    return torch.zeros(p.shape, dtype=values.dtype).index_put(
        (p.rows.long(), p.columns.long()), values, accumulate=True
    )


def test_a_pattern_sorts_its_entries_and_keeps_their_order_within_a_row() -> None:
    rows = torch.tensor([2, 0, 2, 1, 0, 2])
    columns = torch.tensor([3, 1, 0, 2, 1, 3])
    p = Pattern.of(rows, columns, (4, 4))
    assert p.starts.tolist() == [0, 2, 3, 6, 6]
    assert p.rows.tolist() == [0, 0, 1, 2, 2, 2]
    assert p.columns.tolist() == [1, 1, 2, 3, 0, 3]
    assert p.counts.tolist() == [2, 1, 3, 0]
    assert p.transposed.columns.tolist() == [2, 0, 0, 1, 2, 2]
    assert p.columns[p.order.long()].tolist() == p.transposed.rows.tolist()


def test_the_transpose_of_a_transpose_is_the_same_matrix() -> None:
    p = pattern()
    matrix = SparseMatrix(p, random(ENTRIES).detach())
    assert torch.equal(dense(p, matrix.values).t(), dense(p.transposed, matrix.transposed.values))
    assert torch.equal(dense(p.transposed.transposed, matrix.transposed.transposed.values), dense(p, matrix.values))


@pytest.mark.parametrize("entries", [ENTRIES, 0])
def test_products_are_those_of_dense_matrices(entries: int) -> None:
    p, values = pattern(entries), random(HEADS, entries)
    x, y = random(HEADS, COLUMNS, 7), random(HEADS, ROWS, 7)
    full = torch.stack([dense(p, v) for v in values])
    assert torch.allclose(product(SparseMatrix(p, values[0].detach()), x[0]), full[0] @ x[0], rtol=0, atol=1e-12)
    assert torch.allclose(weighted_product(p, values, x), full @ x, rtol=0, atol=1e-12)
    inner = (y @ x.transpose(1, 2))[:, p.rows.long(), p.columns.long()]
    assert torch.allclose(entry_dot(p, y, x), inner, rtol=0, atol=1e-12)
    assert torch.equal(gather(p.by_column, x[0]), x[0][p.columns.long()])
    ones = dense(p.by_row._pattern, torch.ones(entries, dtype=torch.float64))
    edges = random(entries, 2)
    assert torch.allclose(collect(p.by_row, edges), ones @ edges, rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [1, 3, 8, 64])
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "sliced"])
def test_products_do_not_depend_on_the_layout_or_on_what_memory_held(width: int, layout: str) -> None:
    p = pattern()
    matrix = SparseMatrix(p, random(ENTRIES).detach().float())
    x = random(COLUMNS, width).detach().float()
    given = {"contiguous": x, "transposed": x.t().contiguous().t(), "sliced": torch.cat([x, x], 1)[:, :width]}[layout]
    for _ in range(20):  # freed memory full of NaN is likely to be handed out again
        torch.full((ROWS, width), float("nan"))
        assert torch.allclose(product(matrix, given), dense(p, matrix.values) @ x, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda p, x: product(SparseMatrix(p, random(ENTRIES).detach()), x), [(COLUMNS, 4)]),
        (weighted_product, [(2, ENTRIES), (2, COLUMNS, 3)]),
        (entry_dot, [(2, ROWS, 3), (2, COLUMNS, 3)]),
        (lambda p, x: gather(p.by_row, x), [(ROWS, 2)]),
        (lambda p, x: gather(p.by_column, x), [(COLUMNS, 2)]),
        (lambda p, x: collect(p.by_row, x), [(ENTRIES, 2)]),
        (lambda p, x: collect(p.by_column, x), [(ENTRIES, 2)]),
    ],
)
def test_derivatives(function: Callable[..., Tensor], inputs: list[tuple[int, ...]]) -> None:
    p = pattern()
    values = tuple(random(*shape) for shape in inputs)
    assert gradcheck(lambda *x: function(p, *x).sin(), values)
    assert gradgradcheck(lambda *x: function(p, *x).sin(), values)
