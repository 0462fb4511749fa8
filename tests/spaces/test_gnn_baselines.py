"""GCN, GAT, GraphSAGE and GIN: their parameters are those of PyG's layers, and tuning keeps the best by validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_geometric.nn import GATConv, GINConv

from graphnas.compile import compile
from graphnas.errors import GraphnasError
from graphnas.tasks.base import Signature
from graphnas.tasks.node_data import karate
from spaces.gnn_baselines import BASELINES, baseline, tune

SIGNATURE = Signature("node", (12,), 5, nodes=20, edges=50)
BY_HAND = {
    "gcn": 12 * 16 + 16 + 16 * 5 + 5,
    "gat": 12 * 16 + 2 * 16 + 16 + 16 * 5 + 2 * 5 + 5,  # two attention vectors for each head
    "sage": 2 * 12 * 16 + 16 + 2 * 16 * 5 + 5,  # own features and those of the neighbours
    "gin": 12 * 16 + 16 + 16 * 16 + 16 + 16 * 16 + 16 + 16 * 5 + 5,  # perceptrons with a hidden layer of the width
}


@pytest.mark.parametrize("kind", BASELINES)
def test_parameters_are_those_counted_by_hand(kind: str) -> None:
    space = baseline(kind)
    network = compile(space.network(space.decode(()), SIGNATURE, width=16, heads=4, layers=2, dropout=0.5), seed=0)
    assert sum(p.numel() for p in network.parameters()) == BY_HAND[kind]
    edges = torch.randint(20, (2, 50), generator=torch.Generator().manual_seed(0))
    assert network(torch.ones(20, 12), edges).shape == (20, 5)


@pytest.mark.parametrize("kind", ["gin", "gat"])
def test_gin_and_gat_are_those_of_their_papers(kind: str) -> None:
    """PyG's layers put together by hand: GIN of perceptrons with ReLU (Xu et al., 2019), GAT with ELU (Velickovic et al., 2018)."""
    space = baseline(kind)
    network = compile(
        space.network(space.decode(()), SIGNATURE, width=16, heads=4, layers=2, dropout=0.5), seed=0
    ).eval()

    def perceptron(inputs: int, outputs: int) -> GINConv:
        return GINConv(torch.nn.Sequential(torch.nn.Linear(inputs, 16), torch.nn.ReLU(), torch.nn.Linear(16, outputs)))

    layers = [perceptron(12, 16), perceptron(16, 5)] if kind == "gin" else [GATConv(12, 4, heads=4), GATConv(16, 5)]
    for layer, name in zip(layers, ("layer1", "layer2"), strict=True):
        layer.load_state_dict(dict(network.named_modules())[f"{name}.conv"].state_dict())
        layer.eval()
    x = torch.randn(20, 12, generator=torch.Generator().manual_seed(1))
    edges = torch.stack([torch.arange(20), torch.arange(20).roll(3)])
    act = torch.relu if kind == "gin" else torch.nn.functional.elu
    torch.testing.assert_close(network(x, edges), layers[1](act(layers[0](x, edges)), edges), atol=1e-5, rtol=1e-5)


def test_tuning_keeps_the_best_by_validation_and_repeats_exactly() -> None:
    task = karate()
    first, second = (tune("gcn", task, 3, np.random.default_rng(4), epochs=3) for _ in range(2))
    assert first.scores == second.scores
    assert len(first.scores) == 3
    assert first.score == max(first.scores)
    assert first.estimator.describe() == second.estimator.describe()
    assert first.estimator.recipe.patience is None


def test_impossible_options_are_refused() -> None:
    with pytest.raises(GraphnasError, match="unknown baseline 'gatt'; nearest: gat"):
        baseline("gatt")
    with pytest.raises(GraphnasError, match="at least 1 training"):
        tune("gcn", karate(), 0, np.random.default_rng(0))
