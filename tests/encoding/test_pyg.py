import numpy as np
import pytest
import torch

from graphnas.architecture import Node, node
from graphnas.encoding import encode_dense, from_pyg, to_pyg, vocabulary_of
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Space
from spaces import nasbench101, nasbench201, nasbench_graph


def unusual_space() -> Space:
    """Inputs out of order, parallel edges and parameters."""
    order = Choice("order", ((2, 1, 1), (1, 2, 2), (0, 0, 0)))
    kernel = Choice("kernel", (1, 3))
    template = [
        node("input"),
        node("conv", [0], kernel=kernel),
        node("pool", [0]),
        Node("mix", tuple(order.at(*[o[i] for o in order.options]) for i in range(3))),
        node("output", [3]),
    ]
    return Space("unusual", template)


SPACES = [unusual_space(), nasbench101.space(), nasbench201.space()]


def some(space: Space):
    rng = np.random.default_rng(0)
    return list(space.enumerate()) if space.writings < 100 else [space.sample(rng) for _ in range(20)]


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
def test_round_trip_of_one_and_of_many(space):
    architectures = some(space)
    assert from_pyg(space, to_pyg(space, architectures)) == architectures
    for architecture in architectures:
        data = to_pyg(space, architecture)
        data.validate()
        assert from_pyg(space, data) == architecture


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
def test_features_and_edges_agree_with_the_dense_batch(space):
    from torch_geometric.utils import to_dense_adj, to_dense_batch

    architectures = some(space)
    dense = encode_dense(space, architectures).torch()
    batch = to_pyg(space, architectures, canonical=True)
    x, mask = to_dense_batch(batch.x, batch.batch)
    assert torch.equal(x, dense.tokens)
    assert torch.equal(mask, dense.mask)
    adjacency = to_dense_adj(batch.edge_index, batch.batch, max_num_nodes=mask.shape[1])
    assert torch.equal(adjacency.transpose(1, 2), dense.adjacency)
    ops = vocabulary_of(space).ops
    assert [ops[i] for i in batch.op.tolist()] == [n.op for a in architectures for n in space.canonical(a)]


def test_edges_without_places_keep_their_order():
    space = unusual_space()
    for architecture in space.enumerate():
        data = to_pyg(space, architecture)
        del data.edge_place
        assert from_pyg(space, data) == architecture


def test_places_survive_a_permutation_of_the_edges():
    space = unusual_space()
    generator = torch.Generator().manual_seed(0)
    for architecture in space.enumerate():
        data = to_pyg(space, architecture)
        order = torch.randperm(data.num_edges, generator=generator)
        data.edge_index, data.edge_place = data.edge_index[:, order], data.edge_place[order]
        assert from_pyg(space, data) == architecture


def test_features_of_another_space_and_bad_edges_are_refused():
    space = unusual_space()
    data = to_pyg(space, next(space.enumerate()))
    with pytest.raises(GraphnasError, match="tokens"):
        from_pyg(nasbench_graph.space(), data)
    data.edge_index[1, 0] = 9
    with pytest.raises(GraphnasError, match="node 9, which does not exist"):
        from_pyg(space, data)
