import networkx as nx
import numpy as np
import pytest

from graphnas.architecture import Architecture, Node, node
from graphnas.encoding import to_networkx
from graphnas.encoding.substructures import colours, statistics, statistics_names
from graphnas.space import Space
from spaces import nasbench101, nasbench201


def _tree(architecture: Architecture, v: int, rounds: int):
    """The colour of a node as nested tuples, straight from the definition."""
    n = architecture.nodes[v]
    if rounds == 0:
        return (n.op, n.params)
    above = sorted(repr(_tree(architecture, u, rounds - 1)) for u in n.inputs)
    below = sorted(
        repr(_tree(architecture, w, rounds - 1)) for w, m in enumerate(architecture) for u in m.inputs if u == v
    )
    return (_tree(architecture, v, rounds - 1), above, below)


@pytest.mark.parametrize("space", [nasbench101.space(), nasbench201.space()], ids=lambda s: s.name)
def test_nodes_share_a_colour_exactly_when_their_neighbourhoods_agree(space):
    rng = np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(12)]
    for rounds in range(3):
        named = {}
        for a in architectures:
            for v, colour in enumerate(colours(a.nodes, 2)[rounds]):
                named.setdefault(colour, set()).add(repr(_tree(a, v, rounds)))
        trees = [t for group in named.values() for t in group]
        assert all(len(group) == 1 for group in named.values())
        assert len(set(trees)) == len(trees)


def test_colours_move_with_the_nodes_and_see_the_direction():
    a = Architecture(
        [node("input"), node("x", [0]), node("y", [0]), node("z", [1]), node("s", [2, 3]), node("output", [4])]
    )
    order = [0, 2, 1, 3, 4, 5]
    for before, after in zip(colours(a.nodes, 2), colours(a.relabel(order).nodes, 2), strict=True):
        assert after == [before[v] for v in order]
    down = Architecture([node("input"), node("x", [0]), node("y", [1]), node("output", [2])])
    up = Architecture([node("input"), node("y", [0]), node("x", [1]), node("output", [2])])
    assert sorted(colours(down.nodes, 0)[0]) == sorted(colours(up.nodes, 0)[0])
    assert sorted(colours(down.nodes, 1)[1]) != sorted(colours(up.nodes, 1)[1])


def test_order_of_inputs_counts_for_ordered_ops_alone():
    one = [node("input"), node("x", [0]), node("mix", [0, 1]), node("output", [2])]
    other = [node("input"), node("x", [0]), node("mix", [1, 0]), node("output", [2])]
    assert colours(one, 1) == colours(other, 1)
    assert colours(one, 1, frozenset({"mix"})) != colours(other, 1, frozenset({"mix"}))


def test_colours_are_the_same_in_every_process():
    assert colours([Node("input"), Node("conv", (0,), (("k", 3),)), Node("output", (1,))], 0) == [
        colours([Node("input"), Node("conv", (0,), (("k", 3.0),)), Node("output", (1,))], 0)[0]
    ]
    # A colour is the first 64 bits of a digest of its text, so it can be stored.
    import hashlib

    digest = hashlib.blake2b(repr(("input", ())).encode(), digest_size=8).digest()
    assert colours([Node("input")], 0) == [[int.from_bytes(digest, "little", signed=True)]]


@pytest.mark.parametrize("space", [nasbench101.space(), nasbench201.space()], ids=lambda s: s.name)
def test_statistics_equal_an_enumeration_of_all_paths(space):
    rng = np.random.default_rng(1)
    architectures = [space.canonical(space.sample(rng)) for _ in range(30)]
    table = statistics(space, architectures)
    for a, values in zip(architectures, table, strict=True):
        row = dict(zip(statistics_names(space), values.tolist(), strict=True))
        graph = to_networkx(a)
        paths = [[0, *[v for _, v, _ in p]] for p in nx.all_simple_edge_paths(graph, 0, a.outputs[0])]
        ops = [[a.nodes[v].op for v in path] for path in paths]
        assert (row["nodes"], row["edges"], row["paths"]) == (len(a), len(a.edges), len(paths))
        silent = ("input", "output", "sum", "concat")
        assert row["longest_path"] == max((sum(op not in silent for op in path) for path in ops), default=0)
        for name in row:
            kind, _, op = name.partition(":")
            if kind == "count":
                assert row[name] == sum(n.op == op for n in a)
            elif kind == "longest":
                assert row[name] == max((path.count(op) for path in ops), default=0)


def test_statistics_of_a_known_cell():
    cell = nasbench201.from_string(
        "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    space = nasbench201.space()
    (values,) = statistics(space, [space.canonical(cell)])
    row = dict(zip(statistics_names(space), values.tolist(), strict=True))
    assert row["paths"] == 3  # pool; conv conv; conv conv conv
    assert row["longest_path"] == row["longest:nor_conv_3x3"] == 3
    assert row["count:nor_conv_3x3"] == 4
    assert row["count:avg_pool_3x3"] == row["longest:avg_pool_3x3"] == 1
    assert row["count:none"] == row["longest:none"] == 0
    assert (row["nodes"], row["edges"]) == (8, 9)  # input, 4 convolutions, pool, sum, output


def test_a_deep_network_has_more_paths_than_any_float():
    nodes = [node("input")]
    for i in range(2000):
        nodes.append(node("x", [i, i]))
    architecture = Architecture([*nodes, node("output", [2000])])
    space = Space("deep", [node("input"), node("x", [0]), node("output", [1])])
    row = dict(zip(statistics_names(space), statistics(space, [architecture])[0].tolist(), strict=True))
    assert row["paths"] == 2**53
    assert row["longest_path"] == 2000
