"""Sparse node features: when they are used, and that networks compute the same with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphnas.compile import compile
from graphnas.ops.sparse_features import DENSITY, FeatureDropout, FeatureLinear, SparseFeatures, linear, sparse_features
from graphnas.tasks.base import Signature
from spaces import nasbench_graph


def bag_of_words(density: float = 0.05, nodes: int = 40, words: int = 30) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(nodes, words, generator=generator, dtype=torch.float64) + 0.5
    return x * (torch.rand(nodes, words, generator=generator) < density)


def test_features_are_sparse_when_few_entries_are_not_zero() -> None:
    x = bag_of_words()
    sparse = sparse_features(x)
    assert sparse is not None
    assert sparse.shape == (40, 30)
    assert torch.equal(sparse.dense(), x)
    assert sparse_features(x) is sparse
    x[0] = 1.0
    again = sparse_features(x)
    assert again is not None
    assert torch.equal(again.dense(), x)
    assert sparse_features(bag_of_words(2 * DENSITY)) is None
    assert sparse_features(torch.zeros(5, 5)) is None
    assert sparse_features(bag_of_words().requires_grad_()) is None
    assert sparse_features(bag_of_words().half()) is None


def test_linear_maps_and_their_gradients() -> None:
    x = bag_of_words()
    sparse = sparse_features(x)
    assert sparse is not None
    results = []
    for features in (x, sparse):
        layer = FeatureLinear(30, 7).double()
        nn.init.constant_(layer.weight, 0.1)
        nn.init.constant_(layer.bias, 0.3)
        out = layer(features)
        results.append([out, *torch.autograd.grad(out.sin().sum(), list(layer.parameters()))])
    for ours, reference in zip(*results, strict=True):
        assert torch.allclose(ours, reference, rtol=0, atol=1e-12)


def test_dropout_keeps_zeros_and_the_mean() -> None:
    x = bag_of_words()
    layer = FeatureDropout(0.6)
    torch.manual_seed(0)
    total = torch.zeros_like(x)
    for _ in range(400):
        dropped = layer(x)
        assert isinstance(dropped, SparseFeatures)
        total += dropped.dense()
    assert bool((total[x == 0] == 0).all())
    ratio = total[x != 0] / (400 * x[x != 0])
    assert float((ratio - 1).abs().max()) < 5 * (0.6 / 0.4 / 400) ** 0.5
    held = layer.eval()(x)
    assert isinstance(held, SparseFeatures)
    assert torch.equal(held.dense(), x)
    assert isinstance(layer.train()(torch.ones(3, 4)), Tensor)


@pytest.mark.parametrize("link", range(9))
def test_networks_compute_the_same_on_sparse_and_dense_features(link: int) -> None:
    """Whole NAS-Bench-Graph networks: the same numbers written so that they need a gradient are not made sparse."""
    space = nasbench_graph.space()
    rng = np.random.default_rng(link)
    edges = torch.randint(40, (2, 120), generator=torch.Generator().manual_seed(3))
    x = bag_of_words().float()
    for _ in range(3):
        decisions = [link, *rng.integers(9, size=4).tolist()]
        if not space.is_valid(tuple(decisions)):
            continue
        network = space.network(space.decode(decisions), Signature("node", (30,), 4, 40, 120), channels=8)
        module: Any = compile(network, seed=0).eval()
        assert torch.allclose(module(x, edges), module(x.clone().requires_grad_(), edges), rtol=0, atol=1e-5)


def test_linear_of_dense_features_is_that_of_torch() -> None:
    x, weight, bias = torch.randn(4, 3), torch.randn(5, 3), torch.randn(5)
    assert torch.equal(linear(x, weight, bias), nn.functional.linear(x, weight, bias))
