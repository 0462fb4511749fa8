import networkx as nx
import numpy as np
import pytest

from graphnas.architecture import Architecture, node
from graphnas.canonical import WRITTEN, key
from graphnas.encoding import from_networkx, to_networkx
from graphnas.errors import GraphnasError
from spaces import nasbench101, nasbench201

ARCHITECTURE = Architecture(
    [
        node("input", name="x"),
        node("conv", [0], kernel=(3, 5), channels=8),
        node("attention", [1, 0, 1], heads=2),
        node("sum", [2, 2]),
        node("output", [3]),
    ]
)


def test_vertices_and_edges_are_the_nodes_and_inputs():
    graph = to_networkx(ARCHITECTURE)
    assert nx.is_directed_acyclic_graph(graph)
    assert graph.nodes[1] == {"op": "conv", "params": {"kernel": (3, 5), "channels": 8}}
    assert sorted((v, d["place"], u) for u, v, d in graph.edges(data=True)) == [
        (1, 0, 0),
        (2, 0, 1),
        (2, 1, 0),
        (2, 2, 1),
        (3, 0, 2),
        (3, 1, 2),
        (4, 0, 3),
    ]


@pytest.mark.parametrize("space", [nasbench101.space(), nasbench201.space()])
def test_round_trip(space):
    rng = np.random.default_rng(0)
    for architecture in [ARCHITECTURE, *[space.sample(rng) for _ in range(30)]]:
        assert from_networkx(to_networkx(architecture)) == architecture


def test_any_vertex_names_and_any_order_of_edges_give_the_same_graph():
    rng = np.random.default_rng(1)
    for _ in range(20):
        architecture = nasbench101.space().sample(rng)
        graph = to_networkx(architecture)
        names = {v: f"vertex {x}" for v, x in zip(graph, rng.permutation(len(graph)), strict=True)}
        renamed = nx.relabel_nodes(graph, names)
        shuffled = nx.MultiDiGraph()
        vertices = list(renamed.nodes(data=True))
        edges = list(renamed.edges(data=True))
        shuffled.add_nodes_from([vertices[i] for i in rng.permutation(len(vertices))])
        shuffled.add_edges_from([edges[i] for i in rng.permutation(len(edges))])
        assert key(from_networkx(shuffled).nodes, WRITTEN) == key(architecture.nodes, WRITTEN)


def test_unnumbered_vertices_are_sorted_with_ties_in_the_order_of_the_graph():
    graph = nx.DiGraph()
    for name, op in (("out", "output"), ("q", "b"), ("p", "c"), ("r", "a"), ("in", "input")):
        graph.add_node(name, op=op)
    for middle in "rpq":
        graph.add_edges_from([("in", middle), (middle, "out")])
    assert [n.op for n in from_networkx(graph)] == ["input", "b", "c", "a", "output"]


def test_a_plain_graph_needs_only_ops():
    graph = nx.DiGraph([("a", "b"), ("b", "c")])
    nx.set_node_attributes(graph, {"a": "input", "b": "conv", "c": "output"}, "op")
    assert from_networkx(graph) == Architecture([node("input"), node("conv", [0]), node("output", [1])])


def test_what_is_no_architecture_is_refused():
    graph = to_networkx(ARCHITECTURE)
    with pytest.raises(GraphnasError, match="directed"):
        from_networkx(graph.to_undirected())
    del graph.nodes[1]["op"]
    with pytest.raises(GraphnasError, match=r"vertex 1 .* lacks the attribute 'op'"):
        from_networkx(graph)
    graph.add_edge(4, 1, place=1)
    with pytest.raises(GraphnasError, match="cycle"):
        from_networkx(graph)
