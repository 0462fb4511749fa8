"""Dropout: which share is dropped, what is kept, and where the randomness comes from."""

from __future__ import annotations

import pytest
import torch

from graphnas.ops.dropout import Dropout, dropout


def ones(seed: int, p: float, *shape: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return dropout(torch.ones(shape), p)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.6, 0.9])
def test_the_share_that_is_dropped_and_the_scale_of_the_rest(p: float) -> None:
    kept = ones(0, p, 400_000)
    dropped = float((kept == 0).double().mean())
    assert abs(dropped - p) < 5 * (p * (1 - p) / 400_000) ** 0.5  # five standard deviations
    assert kept[kept != 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=2e-4)
    assert abs(float(kept.mean()) - 1) < 5 * (p / (1 - p) / 400_000) ** 0.5


def test_neighbouring_numbers_are_dropped_independently() -> None:
    """Four numbers share a random word: all sixteen combinations must be equally likely."""
    bits = (ones(1, 0.5, 100_000, 4) == 0).long()
    counts = torch.bincount(bits @ torch.tensor([1, 2, 4, 8]), minlength=16).double()
    expected = 100_000 / 16
    assert float(((counts - expected) ** 2 / expected).sum()) < 37.7  # chi-squared, 15 degrees of freedom, p = 0.001


def test_the_seed_decides() -> None:
    assert torch.equal(ones(3, 0.5, 5, 7), ones(3, 0.5, 5, 7))
    assert not torch.equal(ones(3, 0.5, 50, 7), ones(4, 0.5, 50, 7))


def test_it_is_the_identity_when_nothing_is_to_be_dropped() -> None:
    x = torch.randn(3, 5)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0) is x
    assert torch.equal(dropout(x, 1.0), torch.zeros(3, 5))
    assert dropout(torch.zeros(0, 3), 0.5).shape == (0, 3)


def test_the_gradient_passes_what_is_kept() -> None:
    layer = Dropout(0.4)
    x = torch.randn(30, 7, dtype=torch.float64, requires_grad=True)
    out = layer(x)
    out.sum().backward()
    assert out.dtype == torch.float64
    assert x.grad is not None
    assert torch.allclose(out, x * x.grad)
    assert (x.grad == 0).any()
    assert (x.grad != 0).any()
    assert layer.eval()(x) is x
