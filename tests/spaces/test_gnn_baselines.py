"""GCN, GAT, GraphSAGE and GIN: their parameters are those of PyG's layers, and tuning keeps the best by validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

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
    "gin": 12 * 16 + 16 + 16 * 5 + 5,
}


@pytest.mark.parametrize("kind", BASELINES)
def test_parameters_are_those_counted_by_hand(kind: str) -> None:
    space = baseline(kind)
    network = compile(space.network(space.decode(()), SIGNATURE, width=16, heads=4, layers=2, dropout=0.5), seed=0)
    assert sum(p.numel() for p in network.parameters()) == BY_HAND[kind]
    edges = torch.randint(20, (2, 50), generator=torch.Generator().manual_seed(0))
    assert network(torch.ones(20, 12), edges).shape == (20, 5)


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
