"""Softmax over neighbours, largest messages and additive scores: against dense formulas, with their derivatives."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from graphnas.ops.edge_functions import maximum, softmax, tanh_score
from graphnas.ops.sparse_matrix import Pattern

NODES, ENTRIES, HEADS = 6, 14, 3


def pattern(entries: int = ENTRIES) -> Pattern:
    generator = torch.Generator().manual_seed(3)
    rows, columns = torch.randint(NODES - 1, (2, entries), generator=generator)
    return Pattern.of(rows, columns, (NODES, NODES))


def random(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def test_softmax_is_normalised_over_each_row() -> None:
    p, scores = pattern(), random(ENTRIES, HEADS)
    weights = softmax(p, scores)
    rows = p.rows.numpy()
    exponentials = np.exp(scores.detach().numpy())
    totals = np.zeros((NODES, HEADS))
    np.add.at(totals, rows, exponentials)
    assert np.allclose(weights.detach().numpy(), exponentials / totals[rows], rtol=0, atol=1e-12)
    assert gradcheck(lambda s: softmax(p, s).sin(), (scores,))
    assert gradgradcheck(lambda s: softmax(p, s).sin(), (scores,))


def test_softmax_of_large_scores_neither_overflows_nor_vanishes() -> None:
    """Rows of very different sizes: the largest score of the graph must not decide for all rows."""
    p = pattern()
    scores = random(ENTRIES, 1).detach()
    shift = torch.linspace(-5000, 5000, NODES, dtype=torch.float64)[p.rows.long()][:, None]
    for dtype in (torch.float64, torch.float32):
        weights = softmax(p, (scores + shift).to(dtype))
        assert torch.allclose(weights.double(), softmax(p, scores), atol=1e-9 if dtype == torch.float64 else 1e-3)


def test_the_maximum_is_that_of_the_weighted_messages() -> None:
    p, values, x = pattern(), random(HEADS, ENTRIES), random(HEADS, NODES, 4)
    rows, columns = p.rows.numpy(), p.columns.numpy()
    messages = values.detach().numpy()[:, :, None] * x.detach().numpy()[:, columns]
    dense = np.full((HEADS, NODES, ENTRIES, 4), -np.inf)
    dense[:, rows, np.arange(ENTRIES)] = messages
    expected = dense.max(2)
    expected[np.isinf(expected)] = 0
    assert (p.counts == 0).any()
    assert np.allclose(maximum(p, values, x).detach().numpy(), expected, rtol=0, atol=1e-12)
    assert gradcheck(lambda v, h: maximum(p, v, h).sin(), (values, x))
    assert gradgradcheck(lambda v, h: maximum(p, v, h).sin(), (random(2, ENTRIES), random(2, NODES, 2)))


def test_of_equal_messages_one_gets_the_gradient() -> None:
    p = Pattern.of(torch.tensor([0, 0, 0]), torch.tensor([0, 1, 2]), (1, 3))
    x = torch.ones(1, 3, 5, requires_grad=True)
    maximum(p, torch.ones(1, 3), x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad.sum(1), torch.ones(1, 5))
    assert set(x.grad.flatten().tolist()) == {0.0, 1.0}


def test_additive_scores() -> None:
    p = pattern()
    a, b, vector = random(NODES, HEADS, 4), random(NODES, HEADS, 4), random(HEADS, 4)
    left, right = a.detach().numpy()[p.rows.numpy()], b.detach().numpy()[p.columns.numpy()]
    expected = (np.tanh(left + right) * vector.detach().numpy()).sum(-1)
    assert np.allclose(tanh_score(p, a, b, vector).detach().numpy(), expected, rtol=0, atol=1e-12)
    small = (random(NODES, 1, 2), random(NODES, 1, 2), random(1, 2))
    assert gradcheck(lambda *x: tanh_score(p, *x).sin(), (a, b, vector))
    assert gradgradcheck(lambda *x: tanh_score(p, *x).sin(), small)


def test_without_entries_there_is_nothing_to_weigh() -> None:
    p = pattern(0)
    x = random(HEADS, NODES, 4)
    largest = maximum(p, torch.zeros(HEADS, 0, dtype=torch.float64), x)
    assert torch.equal(largest, torch.zeros(HEADS, NODES, 4, dtype=torch.float64))
    assert torch.equal(torch.autograd.grad(largest.sum(), x)[0], torch.zeros_like(x))
    assert softmax(p, random(0, HEADS)).shape == (0, HEADS)
    assert tanh_score(p, random(NODES, 2, 4), random(NODES, 2, 4), random(2, 4)).shape == (0, 2)
