"""GAT as a member of the AGNN space: the numbers of its paper."""

import numpy as np
import torch
from torch_geometric.nn import GATConv

from graphnas.compile import compile
from graphnas.tasks.base import Signature
from spaces.gnn import agnn, manual_network


def test_gat_of_the_paper_is_a_member():
    """Veličković et al. (ICLR 2018, section 3.3): 8 heads of 8 features, ELU, then one head; PyG's layers say the same."""
    signature = Signature("node", (11,), 3, 6, 12)
    network = compile(agnn().network(manual_network(agnn()), signature), seed=0).eval()
    layers = [GATConv(11, 8, heads=8), GATConv(64, 3)]
    edges = torch.from_numpy(np.random.default_rng(0).integers(0, 6, (2, 12)))
    x = torch.randn(6, 11, generator=torch.Generator().manual_seed(1))
    assert sum(p.numel() for p in network.parameters()) == sum(
        p.numel() for layer in layers for p in layer.parameters()
    )
    described = agnn().describe(manual_network(agnn()))
    assert [described[f"{name}1"] for name in ("width", "heads", "attention", "activation")] == [8, 8, "gat", "elu"]
    assert [described[f"{name}2"] for name in ("heads", "attention", "activation")] == [1, "gat", "linear"]
    assert network(x, edges).shape == (6, 3)
    linked = agnn(3, residual=True, jumping_knowledge=True)
    assert linked.contains(manual_network(linked))
