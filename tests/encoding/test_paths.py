from collections import Counter

import networkx as nx
import numpy as np
import pytest

from graphnas.architecture import Architecture, Node, node
from graphnas.encoding import known_paths, op_paths, path_encoding, to_networkx
from graphnas.errors import GraphnasError
from spaces import nasbench101, nasbench201

MERGE = frozenset({"sum", "concat"})


def _by_networkx(architecture: Architecture, merge: frozenset[str] = MERGE) -> Counter:
    """Every path listed one by one, edge by edge."""
    graph = to_networkx(architecture)
    found: Counter = Counter()
    inputs = [v for v, op in graph.nodes(data="op") if op == "input"]
    for source in inputs:
        for target in architecture.outputs:
            for edges in nx.all_simple_edge_paths(graph, source, target):
                between = [architecture.nodes[v] for _, v, _ in edges[:-1]]
                found[tuple((n.op, n.params) for n in between if n.op not in merge)] += 1
    return found


def _random_multigraph(rng: np.random.Generator) -> Architecture:
    nodes = [node("input", name="a"), node("input", name="b")]
    for i in range(2, 9):
        inputs = rng.integers(i, size=rng.integers(1, 4)).tolist()
        op = ("sum", "conv", "pool")[rng.integers(3)]
        nodes.append(Node(op, tuple(inputs), (("k", int(rng.integers(2))),) if op == "conv" else ()))
    return Architecture([*nodes, node("output", [8]), node("output", rng.integers(9, size=2).tolist())])


def test_counts_equal_an_enumeration_of_all_paths_of_multigraphs():
    rng = np.random.default_rng(0)
    for _ in range(60):
        architecture = _random_multigraph(rng)
        assert op_paths(architecture.nodes, MERGE) == _by_networkx(architecture)
        assert op_paths(architecture.nodes) == _by_networkx(architecture, frozenset())


@pytest.mark.parametrize("space", [nasbench101.space(), nasbench201.space()], ids=lambda s: s.name)
@pytest.mark.parametrize("canonical", [False, True])
def test_encoding_equals_an_enumeration_of_all_paths(space, canonical):
    rng = np.random.default_rng(1)
    architectures = [space.sample(rng) for _ in range(40)]
    paths = known_paths(space, architectures, canonical=canonical)
    encoded = path_encoding(space, architectures, canonical=canonical)
    present = path_encoding(space, architectures, canonical=canonical, indicator=True)
    for row, ones, a in zip(encoded, present, architectures, strict=True):
        expected = _by_networkx(space.canonical(a) if canonical else a)
        assert {path: n for path, n in zip(paths, row, strict=True) if n} == expected
        assert np.array_equal(ones, row > 0)


def test_nasbench201_has_five_to_the_length_paths_of_each_length():
    space = nasbench201.space()
    architectures = [space.decode([d] * 6) for d in range(5)]
    rng = np.random.default_rng(0)
    architectures += [space.sample(rng) for _ in range(3000)]
    paths = known_paths(space, architectures, canonical=False)
    # As written, one edge gives 5 paths, two edges 25, three edges 125, and every cell has 1, 2 and 1 of them.
    assert Counter(map(len, paths)) == {1: 5, 2: 25, 3: 125}
    encoded = path_encoding(space, architectures, paths=paths, canonical=False)
    for length, number in ((1, 1), (2, 2), (3, 1)):
        assert (encoded[:, [len(p) == length for p in paths]].sum(axis=1) == number).all()


def test_truncation_keeps_the_shortest_or_the_most_frequent():
    space = nasbench101.space()
    rng = np.random.default_rng(2)
    architectures = [space.sample(rng) for _ in range(100)]
    everything = known_paths(space, architectures)
    frequency = (path_encoding(space, architectures, paths=everything) > 0).sum(axis=0)
    shortest = known_paths(space, architectures, 20)
    assert max(map(len, shortest)) <= min(len(p) for p in everything if p not in shortest)
    frequent = known_paths(space, architectures, 20, keep="frequent")
    kept = np.array([p in frequent for p in everything])
    assert kept.sum() == 20
    assert frequency[kept].min() >= frequency[~kept].max()
    full = path_encoding(space, architectures, paths=everything)
    assert np.array_equal(path_encoding(space, architectures, 20, keep="frequent"), full[:, kept])


def test_isomorphic_cells_get_equal_paths_and_unknown_paths_are_left_out():
    space = nasbench201.space()
    skip = nasbench201.from_string("|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|")
    direct = nasbench201.from_string("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|nor_conv_1x1~1|none~2|")
    conv = (("nor_conv_3x3", ()),)
    assert known_paths(space, [skip, direct]) == (conv,)
    assert path_encoding(space, [skip, direct]).tolist() == [[1], [1]]
    assert path_encoding(space, [skip], paths=[(("avg_pool_3x3", ()),)]).tolist() == [[0]]


def test_too_many_paths_and_wrong_arguments_are_refused():
    nodes = [node("input")]
    for _ in range(20):
        i = len(nodes) - 1
        nodes += [node("a", [i]), node("b", [i]), node("sum", [i + 1, i + 2])]
    with pytest.raises(GraphnasError, match="more than 100000 op paths"):
        op_paths([*nodes, node("output", [len(nodes) - 1])], MERGE)
    with pytest.raises(GraphnasError, match="keep is 'best'"):
        known_paths(nasbench201.space(), [], keep="best")
    with pytest.raises(GraphnasError, match="max_paths is 0"):
        known_paths(nasbench201.space(), [], 0)
