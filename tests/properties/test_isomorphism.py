"""The key is equal exactly for isomorphic DAGs: judged by nauty, and on the pair that Weisfeiler and Lehman confuse."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import WRITTEN, Semantics, canonical, key
from graphnas.testing.rules import shuffled

ORDERED = Semantics(merge_ops=frozenset(), prune=False, ordered_ops=frozenset({"b"}))


@st.composite
def dags(draw: st.DrawFn) -> Architecture:
    """Up to seven inner nodes of two ops with up to three inputs each, parallel edges included."""
    nodes = [node("input")]
    for i in range(1, 1 + draw(st.integers(1, 7))):
        sources = draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=3))
        nodes.append(node(draw(st.sampled_from("ab")), sources))
    sinks = draw(st.lists(st.integers(0, len(nodes) - 1), min_size=1, max_size=4, unique=True))
    return Architecture([*nodes, node("output", sinks)])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Architecture, Architecture]:
    """A DAG, and a relabelled copy in which up to two inputs, in random places, were exchanged or moved."""
    a = draw(dags())
    nodes = list(a.nodes)
    for _ in range(draw(st.integers(0, 2))):
        i = draw(st.integers(1, len(nodes) - 1))
        slot = draw(st.integers(0, len(nodes[i].inputs) - 1))
        inputs = list(nodes[i].inputs)
        inputs[slot] = draw(st.integers(0, i - 1))
        if draw(st.booleans()):
            inputs.reverse()
        nodes[i] = Node(nodes[i].op, tuple(inputs), nodes[i].params)
    return a, shuffled(Architecture(nodes), np.random.default_rng(draw(st.integers(0, 2**32 - 1))))


@pytest.mark.parametrize("semantics", [WRITTEN, ORDERED])
def test_keys_are_equal_exactly_for_isomorphic_dags(semantics: Semantics, certificate: Callable[..., Any]) -> None:
    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(pairs())
    def check(pair: tuple[Architecture, Architecture]) -> None:
        a, b = pair
        isomorphic = certificate(a.nodes, semantics.ordered_ops) == certificate(b.nodes, semantics.ordered_ops)
        assert (key(a.nodes, semantics) == key(b.nodes, semantics)) == isomorphic
        assert (canonical(a, semantics) == canonical(b, semantics)) == isomorphic
        for x in (a, b):
            form = canonical(x, semantics)
            assert certificate(form.nodes, semantics.ordered_ops) == certificate(x.nodes, semantics.ordered_ops)
            assert canonical(form, semantics) == form

    check()


@pytest.mark.parametrize("semantics", [WRITTEN, ORDERED])
def test_keys_and_nauty_divide_many_dags_alike(
    semantics: Semantics, certificate: Callable[..., Any], random_dag: Callable[..., Architecture]
) -> None:
    rng = np.random.default_rng(1)
    made = [random_dag(rng, inner, "ab", widest=2) for inner in (2, 3, 4, 5, 8) for _ in range(1200)]
    by_key = [key(a.nodes, semantics) for a in made]
    by_nauty = [certificate(a.nodes, semantics.ordered_ops) for a in made]
    keys, classes, both = len(set(by_key)), len(set(by_nauty)), len(set(zip(by_key, by_nauty, strict=True)))
    assert 500 < classes < 5500  # of 6,000: the sample has both many classes and many isomorphic pairs
    assert keys == classes == both


def layered(columns: list[list[int]]) -> Architecture:
    """Nodes ``a`` on the input, and nodes ``b`` of which the i-th reads the ``a`` nodes ``columns[i]``."""
    width = len(columns)
    top = [node("b", [1 + j for j in column]) for column in columns]
    return Architecture(
        [node("input"), *[node("a", [0])] * width, *top, node("output", range(1 + width, 1 + 2 * width))]
    )


EIGHT_CYCLE = layered([[0, 1], [1, 2], [2, 3], [3, 0]])
TWO_FOUR_CYCLES = layered([[0, 1], [0, 1], [2, 3], [2, 3]])


@pytest.mark.filterwarnings("ignore:The hashes produced for directed graphs:UserWarning")
def test_the_pair_that_colour_refinement_cannot_tell_apart() -> None:
    graphs = []
    for a in (EIGHT_CYCLE, TWO_FOUR_CYCLES):
        assert len(a) == 10
        graph = nx.DiGraph(a.edges)
        nx.set_node_attributes(graph, {i: n.op for i, n in enumerate(a.nodes)}, "op")
        graphs.append(graph)
    for view in (nx.DiGraph.copy, nx.DiGraph.reverse, nx.DiGraph.to_undirected):
        hashes = {nx.weisfeiler_lehman_graph_hash(view(g), node_attr="op", iterations=10) for g in graphs}
        assert len(hashes) == 1
    assert not nx.is_isomorphic(*graphs)
    assert key(EIGHT_CYCLE.nodes, WRITTEN) != key(TWO_FOUR_CYCLES.nodes, WRITTEN)
    assert canonical(EIGHT_CYCLE, WRITTEN) != canonical(TWO_FOUR_CYCLES, WRITTEN)
    rng = np.random.default_rng(0)
    for a in (EIGHT_CYCLE, TWO_FOUR_CYCLES):
        assert len({key(shuffled(a, rng).nodes, WRITTEN) for _ in range(50)}) == 1
        assert len({canonical(shuffled(a, rng), WRITTEN) for _ in range(50)}) == 1


def cycle_type(columns: list[list[int]]) -> tuple[int, ...]:
    """Sizes of the components; they decide the class of a layer in which everything has two neighbours."""
    graph = nx.Graph((("top", i), ("low", j)) for i, column in enumerate(columns) for j in column)
    return tuple(sorted(map(len, nx.connected_components(graph))))


@pytest.mark.parametrize(("width", "partitions"), [(4, 5), (5, 7), (6, 11)])
def test_regular_layers_need_a_search(width: int, partitions: int) -> None:
    """Every ``a`` is read twice and every ``b`` reads two, so refinement splits nothing; classes are cycle types."""
    rng = np.random.default_rng(width)
    made = [rng.permutation(np.repeat(np.arange(width), 2)).reshape(width, 2).tolist() for _ in range(200)]
    keys = [key(layered(columns).nodes, WRITTEN) for columns in made]
    types = [cycle_type(columns) for columns in made]
    counts = len(set(keys)), len(set(types)), len(set(zip(keys, types, strict=True)))
    assert counts[0] == counts[1] == counts[2]
    assert 3 <= counts[0] <= partitions


@pytest.mark.parametrize("rows", [[2, 5], [3, 4], [7]])
def test_cycles_have_one_key_for_every_rotation_and_reflection(rows: list[int]) -> None:
    rng = np.random.default_rng(0)
    columns, start = [], 0
    for length in rows:
        columns += [[start + i, start + (i + 1) % length] for i in range(length)]
        start += length
    keys = set()
    for _ in range(30):
        names, order = rng.permutation(7), rng.permutation(7)
        keys.add(key(layered([[int(names[j]) for j in columns[i]] for i in order]).nodes, WRITTEN))
    assert len(keys) == 1


def test_the_three_cycle_types_of_seven_differ() -> None:
    def cycles(*lengths: int) -> Architecture:
        columns, start = [], 0
        for length in lengths:
            columns += [[start + i, start + (i + 1) % length] for i in range(length)]
            start += length
        return layered(columns)

    kinds = [cycles(2, 5), cycles(3, 4), cycles(7), cycles(2, 2, 3)]
    assert len({key(a.nodes, WRITTEN) for a in kinds}) == 4


@pytest.mark.parametrize("places", list(itertools.permutations(range(3))))
def test_places_count_only_for_ordered_ops(places: tuple[int, ...]) -> None:
    layer = [node("input"), node("q", [0]), node("k", [0]), node("v", [0])]
    plain = Architecture([*layer, node("attention", (1, 2, 3)), node("output", (4,))])
    moved = Architecture([*layer, node("attention", [1 + p for p in places]), node("output", (4,))])
    semantics = Semantics(ordered_ops=frozenset({"attention"}))
    assert key(plain.nodes, WRITTEN) == key(moved.nodes, WRITTEN)
    assert (key(plain.nodes, semantics) == key(moved.nodes, semantics)) == (places == (0, 1, 2))


def test_labels_tell_parameters_apart() -> None:
    def of(**params: Any) -> str:
        return key([node("input"), node("conv", [0], **params), node("output", [1])], WRITTEN)

    assert of(k=1) == of(k=1.0) == of(k=True)
    values = [{}, {"k": 1}, {"k": 2}, {"k": "1"}, {"k": None}, {"k": (1,)}, {"k": ("1",)}, {"k": (1, 1)}, {"j": 1}]
    assert len({of(**v) for v in values}) == len(values)
