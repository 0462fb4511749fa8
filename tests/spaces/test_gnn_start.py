"""Networks of the literature as members of the AGNN space: the numbers of their papers, and PyG's layers with the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Linear
from torch_geometric.nn import APPNP, GATConv, GCNConv

from graphnas.compile import compile
from graphnas.cost import cost
from graphnas.errors import GraphnasError
from graphnas.tasks.base import Signature
from spaces.gnn import MANUAL, agnn, manual_network

SIGNATURE = Signature("node", (11,), 3, 6, 12)
EDGES = torch.from_numpy(np.random.default_rng(0).integers(0, 6, (2, 12)))
X = torch.randn(6, 11, generator=torch.Generator().manual_seed(1))


def built(kind: str) -> Any:
    space = agnn(propagation=True)
    return compile(space.network(manual_network(space, kind), SIGNATURE), seed=0).eval()


def test_gat_of_the_paper_is_a_member() -> None:
    """Veličković et al. (ICLR 2018, section 3.3): 8 heads of 8 features, ELU, then one head; PyG's layers say the same."""
    network = built("gat")
    layers = [GATConv(11, 8, heads=8), GATConv(64, 3)]
    assert sum(p.numel() for p in network.parameters()) == sum(
        p.numel() for layer in layers for p in layer.parameters()
    )
    described = agnn().describe(manual_network(agnn()))
    assert [described[f"{name}1"] for name in ("width", "heads", "attention", "activation")] == [8, 8, "gat", "elu"]
    assert [described[f"{name}2"] for name in ("heads", "attention", "activation")] == [1, "gat", "linear"]
    assert network(X, EDGES).shape == (6, 3)


def test_gcn_of_the_paper_is_a_member() -> None:
    """Kipf & Welling (ICLR 2017, equation 9) with 16 hidden units."""
    network = built("gcn")
    convolutions = [GCNConv(11, 16), GCNConv(16, 3)]
    with torch.no_grad():
        for number, layer in enumerate(convolutions, 1):
            ours = network.get_submodule(f"layer{number}.conv")
            layer.lin.weight.copy_(ours.lin.weight)
            layer.bias.copy_(ours.bias)
        expected = convolutions[1](convolutions[0](X, EDGES).relu(), EDGES)
        assert torch.allclose(network(X, EDGES), expected, rtol=0, atol=1e-5)


def test_appnp_of_the_paper_is_a_member() -> None:
    """Gasteiger et al. (ICLR 2019, section 5): a perceptron with 64 hidden units, then ten steps with teleport 0.1."""
    network = built("appnp")
    first, last = Linear(11, 64), Linear(64, 3)
    with torch.no_grad():
        for number, layer in enumerate((first, last), 1):
            ours = network.get_submodule(f"layer{number}.conv")
            layer.weight.copy_(ours.lin.weight)
            layer.bias.copy_(ours.bias)
        expected = APPNP(10, 0.1)(last(first(X).relu()), EDGES)
        assert torch.allclose(network(X, EDGES), expected, rtol=0, atol=1e-5)
    space = agnn(propagation=True)
    whole = space.network(manual_network(space, "appnp"), SIGNATURE)
    assert cost(whole).macs == 6 * 11 * 64 + 6 * 64 * 3 + 10 * (12 + 6) * 3  # edges and self-loops, three outputs


@pytest.mark.parametrize("kind", MANUAL)
def test_links_do_not_stand_in_the_way(kind: str) -> None:
    linked = agnn(3, residual=True, jumping_knowledge=True, propagation=True)
    made = linked.describe(manual_network(linked, kind))
    assert (made["residual2"], made["jumping_knowledge"]) == (False, "last")
    assert made["propagation"] == (10 if kind == "appnp" else 0)


def test_what_is_no_member_is_refused() -> None:
    with pytest.raises(GraphnasError, match="space 'agnn' has no propagation, so APPNP is no member of it"):
        manual_network(agnn(), "appnp")
    with pytest.raises(GraphnasError, match="unknown manual network 'gin'"):
        manual_network(agnn(), "gin")
