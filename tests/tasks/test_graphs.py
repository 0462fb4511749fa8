"""Flat arrays of graphs: unions against PyG's batches, indicator columns against OGB's encoders, pooling against loops."""

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GINConv

from graphnas.compile import compile
from graphnas.errors import GraphnasError
from graphnas.registry import get_space
from graphnas.tasks.base import Signature
from graphnas.tasks.graphs import Graphs, read_graphs
from graphnas.tasks.readout import pool
from spaces.nasbench_graph import OPS


def graph(nodes, edges, seed=0, **more):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, 3, generator=generator)
    edge_index = torch.randint(nodes, (2, edges), generator=generator)
    return Data(x=x, edge_index=edge_index, edge_attr=torch.randn(edges, 2, generator=generator), **more)


GRAPHS = [graph(5, 12, 1), graph(1, 0, 2), graph(4, 0, 3), graph(1, 2, 4), graph(7, 9, 5)]
"""Among them a single node, four isolated ones, and a node with two self-loops."""


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3, 4], [4, 1], [3], [2, 0, 2]])
def test_unions_are_those_of_pyg(chosen):
    graphs = read_graphs(GRAPHS, undirected=False, edge_features=True)
    union = graphs.union(torch.tensor(chosen))
    expected = Batch.from_data_list([GRAPHS[i] for i in chosen])
    assert torch.equal(union.x, expected.x)
    assert torch.equal(union.edge_index, expected.edge_index)
    assert torch.equal(union.edge_attr, expected.edge_attr)
    assert torch.equal(union.graph, expected.batch)
    assert torch.equal(graphs.x[union.rows], union.x)


def test_a_union_of_no_graphs_is_empty():
    union = read_graphs(GRAPHS, undirected=False, edge_features=False).union(torch.tensor([], dtype=torch.long))
    assert union.x.shape == (0, 3)
    assert union.edge_index.shape == (2, 0)
    layer = GINConv(nn.Linear(3, 4))
    output = layer(union.x, union.edge_index)
    for readout in ("mean", "sum", "max"):
        assert pool(output, union.graph, 0, readout).shape == (0, 4)


def test_a_graph_gives_the_same_rows_alone_and_in_a_union():
    graphs = read_graphs(GRAPHS, undirected=True, edge_features=False)
    layer = GINConv(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)))
    union = graphs.union(torch.arange(5))
    together = layer(union.x, union.edge_index)
    for number in range(5):
        alone = graphs.union(torch.tensor([number]))
        assert torch.allclose(together[union.graph == number], layer(alone.x, alone.edge_index), atol=1e-6)


def test_edges_get_their_reverse_within_each_graph():
    graphs = read_graphs(
        [Data(x=torch.eye(3), edge_index=torch.tensor([[0, 1, 0], [1, 0, 2]]))] * 2,
        undirected=True,
        edge_features=False,
    )
    edges = graphs.union(torch.arange(2)).edge_index
    assert set(map(tuple, edges.T.tolist())) == {(0, 1), (1, 0), (0, 2), (2, 0), (3, 4), (4, 3), (3, 5), (5, 3)}
    assert edges.shape[1] == 8


def test_indicator_columns_mark_one_value_for_each_column():
    values = torch.tensor([[0, 2], [1, 0], [1, 1]])
    graphs = Graphs(
        values,
        torch.tensor([[0], [1]]),
        torch.tensor([2, 1]),
        torch.tensor([1, 0]),
        torch.tensor([[1]]),
        categories=(2, 3),
        edge_categories=(2,),
    )
    assert graphs.width == 5
    union = graphs.union(torch.tensor([1, 0]))
    assert union.x.tolist() == [[0, 1, 0, 1, 0], [1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]
    assert union.edge_attr.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.tensor([[0], [2]])}, "column 0 of x holds 2; its categories are 0 to 1"),
        ({"x": torch.tensor([[0], [-1]])}, "column 0 of x holds -1"),
        ({"categories": (2, 2)}, "1 columns, but 2 numbers of categories"),
        ({"nodes": torch.tensor([2, 0])}, "graph 1 has no nodes"),
        ({"nodes": torch.tensor([], dtype=torch.long)}, "there are no graphs"),
        ({"edges": torch.tensor([1, 1])}, "count 2 nodes and 2 edges, but there are 2 rows in x, 1 edges"),
        ({"edge_index": torch.tensor([[0], [1]])}, "graph 0 has an edge to a node outside its 1 nodes"),
        ({"edge_index": torch.tensor([[0], [-1]])}, "outside its 1 nodes"),
    ],
)
def test_wrong_arrays_are_answered_with_one_sentence(change, message):
    right = {
        "x": torch.tensor([[0], [1]]),
        "edge_index": torch.tensor([[0], [0]]),
        "nodes": torch.tensor([1, 1]),
        "edges": torch.tensor([1, 0]),
        "categories": (2,),
    }
    Graphs(**right)
    with pytest.raises(GraphnasError, match=message):
        Graphs(**{**right, **change})


@pytest.mark.parametrize(
    ("graphs", "options", "message"),
    [
        ([], {}, "there are no graphs"),
        (
            [GRAPHS[0], Data(x=torch.eye(2), edge_index=torch.tensor([[0], [2]]))],
            {},
            "graph 1: edge_index names node 2",
        ),
        ([GRAPHS[0], Data(x=torch.eye(2), edge_index=torch.tensor([[0], [1]]))], {}, "graph 1 has 2 columns in x"),
        ([Data(edge_index=torch.zeros(2, 0, dtype=torch.long))], {}, "graph 0: the graph has no x"),
        (
            [Data(x=torch.eye(2), edge_index=torch.tensor([[0], [1]]))],
            {"edge_features": True},
            "graph 0: it has no edge_attr",
        ),
        ([GRAPHS[0]], {"edge_features": True, "undirected": True}, "pass undirected=False"),
    ],
)
def test_wrong_graphs_are_named(graphs, options, message):
    with pytest.raises(GraphnasError, match=message):
        read_graphs(graphs, **{"undirected": False, "edge_features": False, **options})


@pytest.mark.parametrize("readout", ["mean", "sum", "max"])
def test_pooling_equals_loops_over_nodes_in_any_order(readout):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 4)) - 3  # all below zero, so that a maximum with 0 would show
    graph = np.array([0, 0, 2, 2, 2, 4] + [3] * 14)
    order = rng.permutation(20)
    found = pool(torch.from_numpy(values[order]), torch.from_numpy(graph[order]), 6, readout)
    reduce = {"mean": np.mean, "sum": np.sum, "max": np.max}[readout]
    for number in range(6):
        rows = values[graph == number]
        expected = reduce(rows, axis=0) if len(rows) else np.zeros(4)
        assert np.allclose(found[number], expected, atol=1e-12)


def test_pooling_has_the_right_gradient():
    values = torch.randn(6, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0), requires_grad=True)
    graph = torch.tensor([0, 0, 0, 1, 2, 2])
    for readout in ("mean", "sum", "max"):
        assert torch.autograd.gradcheck(lambda v, readout=readout: pool(v, graph, 4, readout), values)


def test_mean_of_a_linear_layer_is_the_layer_on_the_mean():
    layer = nn.Linear(4, 2).double()
    hidden, graph = torch.randn(9, 4, dtype=torch.double), torch.tensor([0] * 5 + [1] * 4)
    after = pool(layer(hidden), graph, 2, "mean")
    before = layer(pool(hidden, graph, 2, "mean"))
    assert torch.allclose(after, before, atol=1e-12)
    total = pool(layer(hidden) - layer.bias, graph, 2, "sum")
    assert torch.allclose(total, pool(hidden, graph, 2, "sum") @ layer.weight.T, atol=1e-12)


@pytest.mark.parametrize("op", [op for op in OPS if op != "skip"])
def test_operations_of_the_space_take_single_nodes_isolated_nodes_and_nothing(op):
    graphs = read_graphs(GRAPHS, undirected=True, edge_features=False)
    space = get_space("nasbench_graph")
    architecture = space.decode([8, OPS.index(op), OPS.index(op), 8, 8])
    network = compile(space.network(architecture, Signature("node", (3,), 2, 7, 18), channels=4), seed=0).eval()
    with torch.no_grad():
        union = graphs.union(torch.arange(5))
        together = network(union.x, union.edge_index)
        assert bool(torch.isfinite(together).all())
        for number in range(5):
            alone = graphs.union(torch.tensor([number]))
            rows = network(alone.x, alone.edge_index)
            assert torch.allclose(rows, together[union.graph == number], atol=1e-5)
        nothing = graphs.union(torch.tensor([], dtype=torch.long))
        assert network(nothing.x, nothing.edge_index).shape == (0, 2)
