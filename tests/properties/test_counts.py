"""Published and enumerated numbers of architectures, each by our keys and by an independent count."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest

from graphnas import registry
from graphnas.canonical import WRITTEN, Semantics, key, simplify
from graphnas.data import find
from graphnas.files import load_npz
from spaces import nasbench101, nasbench201, nasbench_graph

NB201 = nasbench201.space()
CELLS = list(itertools.product(range(5), repeat=6))


def count201(semantics: Semantics) -> int:
    return len({key(NB201.build(cell), semantics) for cell in CELLS})


def test_nasbench201_official_classes() -> None:
    """15,625 cells, 12,751 and 6,466 unique strings (Dong & Yang, 2020; specs of the benchmark's own ``to_unique_str``)."""
    assert NB201.size == 15_625 == len({NB201.build(cell) for cell in CELLS})
    cells = [NB201.decode(cell) for cell in CELLS]
    assert len({nasbench201.unique_string(a, keep_zero=False) for a in cells}) == 12_751
    assert len({nasbench201.unique_string(a, keep_zero=True) for a in cells}) == 6_466


def test_nasbench201_unique_strings_are_the_published_classes() -> None:
    path = find("nb201.npz")
    if path is None:
        pytest.skip("nb201.npz is not in GRAPHNAS_DATA")
    data = load_npz(path, ["ops", "iso_class"])
    strings = [nasbench201.unique_string(NB201.decode(row), keep_zero=True) for row in data["ops"].tolist()]
    classes = data["iso_class"].tolist()
    assert len(set(classes)) == 6_466 == len(set(zip(strings, classes, strict=True)))


def expressions(cell: tuple[int, ...], flatten: bool) -> str:
    """The function of a cell with tied weights as text, written from the definition and without graphnas."""
    decisions = dict(zip(nasbench201.EDGES, cell, strict=True))
    states: list[list[str]] = [["x"]]  # a state is a list of terms to add
    for target in (1, 2, 3):
        terms: list[str] = []
        for source in range(target):
            op, inner = decisions[source, target], states[source]
            if op == 0 or not inner:
                continue
            whole = inner[0] if len(inner) == 1 else "(" + "+".join(sorted(inner)) + ")"
            if op == 1:
                terms += inner if flatten else [whole]
            else:
                terms.append(f"{op}[{whole}]")
        states.append(terms)
    return states[3][0] if len(states[3]) == 1 else "(" + "+".join(sorted(states[3])) + ")"


@pytest.mark.parametrize(("flatten", "published"), [(False, 5_773), (True, 4_930)])
def test_nasbench201_expressions(flatten: bool, published: int) -> None:
    """5,773 functions under tied weights, 4,930 when sums of sums are one sum; both by a second implementation."""
    semantics = replace(NB201.semantics, share=True, flatten=frozenset({"sum"} if flatten else ()))
    texts = [expressions(cell, flatten) for cell in CELLS]
    keys = [key(NB201.build(cell), semantics) for cell in CELLS]
    counts = len(set(texts)), len(set(keys)), len(set(zip(texts, keys, strict=True)))
    assert counts == (published, published, published)


def test_nasbench201_has_341_constant_cells() -> None:
    zero = NB201.key(NB201.decode([0] * 6))
    keys = [NB201.key(NB201.decode(cell)) for cell in CELLS]
    assert keys.count(zero) == 341 == sum(expressions(cell, False) == "()" for cell in CELLS)


def live_graph(cell: tuple[int, ...]) -> list[tuple[str, tuple[int, ...], tuple[()]]]:
    """The cell as a DAG without zeros, skips and dead ends, written from the definition and without graphnas."""
    decisions = dict(zip(nasbench201.EDGES, cell, strict=True))
    made: list[tuple[str, list[int]]] = [("input", [])]
    states: list[int | None] = [0]
    for target in (1, 2, 3):
        terms = []
        for source in range(target):
            op, inner = decisions[source, target], states[source]
            if op == 0 or inner is None:
                continue
            if op > 1:
                made.append((nasbench201.OPS[op], [inner]))
                inner = len(made) - 1
            terms.append(inner)
        if len(terms) > 1:
            made.append(("sum", terms))
            terms = [len(made) - 1]
        states.append(terms[0] if terms else None)
    live, todo = {0}, [] if states[3] is None else [states[3]]
    while todo:
        v = todo.pop()
        live.add(v)
        todo += made[v][1]
    place = {v: i for i, v in enumerate(sorted(live))}
    nodes: list[tuple[str, tuple[int, ...], tuple[()]]] = []
    nodes += [(made[v][0], tuple(place[u] for u in made[v][1]), ()) for v in sorted(live)]
    return [*nodes, ("output", () if states[3] is None else (place[states[3]],), ())]


def test_nasbench201_keys_never_collide(certificate: Callable[..., Any]) -> None:
    """6,334 labelled graphs among all 15,625 cells, as nauty counts them."""
    keys = [NB201.key(NB201.decode(cell)) for cell in CELLS]
    judged = [certificate(live_graph(cell)) for cell in CELLS]
    counts = len(set(keys)), len(set(judged)), len(set(zip(keys, judged, strict=True)))
    assert counts == (6_334, 6_334, 6_334)


def cells101(vertices: int) -> list[tuple[np.ndarray, tuple[int, ...]]]:
    """All labelled matrices of exactly this many vertices, each vertex on a path from the first to the last."""
    pairs = list(itertools.combinations(range(vertices), 2))
    found = []
    for bits in itertools.product((0, 1), repeat=len(pairs)):
        if sum(bits) > nasbench101.MAX_EDGES:
            continue
        matrix = np.zeros((vertices, vertices), dtype=int)
        for (i, j), bit in zip(pairs, bits, strict=True):
            matrix[i, j] = bit
        if not (matrix[:-1].any(1).all() and matrix[:, 1:].any(0).all()):
            continue  # in a sorted DAG, a source but the first or a sink but the last is off the paths
        found += [(matrix, ops) for ops in itertools.product(range(3), repeat=vertices - 2)]
    return found


def by_networkx(cells: list[tuple[np.ndarray, tuple[int, ...]]]) -> int:
    """Classes by pairwise isomorphism tests, within buckets of equal degrees and labels."""
    match = nx.algorithms.isomorphism.categorical_node_match("op", None)
    buckets: dict[Any, list[nx.DiGraph]] = defaultdict(list)
    for matrix, ops in cells:
        labels = [-1, *ops, -2]
        two = matrix @ matrix
        traits = sorted(zip(labels, matrix.sum(0), matrix.sum(1), two.sum(0), two.sum(1), strict=True))
        graph = nx.from_numpy_array(matrix, create_using=nx.DiGraph)
        nx.set_node_attributes(graph, dict(enumerate(labels)), "op")
        bucket = buckets[tuple(map(tuple, traits))]
        if not any(nx.is_isomorphic(graph, other, node_match=match) for other in bucket):
            bucket.append(graph)
    return sum(map(len, buckets.values()))


def by_permutations(cells: list[tuple[np.ndarray, tuple[int, ...]]]) -> int:
    """Classes by the least matrix over all orders of the inner vertices."""
    found = set()
    for matrix, ops in cells:
        least = min(
            (matrix[np.ix_(order, order)].tobytes(), tuple(ops[v - 1] for v in inner))
            for inner in itertools.permutations(range(1, len(matrix) - 1))
            for order in [[0, *inner, len(matrix) - 1]]
        )
        found.add(least)
    return len(found)


@pytest.mark.parametrize(("vertices", "published"), [(2, 1), (3, 6), (4, 84), (5, 2_441)])
def test_nasbench101_by_vertices(vertices: int, published: int) -> None:
    """Ying et al. (2019): 1, 6, 84 and 2,441 cells of 2 to 5 vertices."""
    cells = cells101(vertices)
    names = ["input", *nasbench101.OPS, "output"]
    keys = {
        nasbench101.space().key(nasbench101.from_matrix(m, ["input", *(names[1 + o] for o in ops), "output"]))
        for m, ops in cells
    }
    assert len(keys) == published
    assert by_permutations(cells) == published
    assert by_networkx(cells) == published


def test_nasbench101_small_spaces_hold_all_smaller_cells() -> None:
    assert [nasbench101.small_space(v).size for v in (2, 3, 4)] == [1, 1 + 6, 1 + 6 + 84]


def test_nasbench_graph_has_26206_architectures() -> None:
    space = nasbench_graph.space()
    rows = space.representatives
    assert rows.shape == (26_206, 5)
    assert len({key(space.build(tuple(row)), space.semantics) for row in rows.tolist()}) == 26_206


@pytest.mark.parametrize("name", ["nasbench101", "nasbench_graph"])
def test_sampled_keys_never_collide(name: str, certificate: Callable[..., Any]) -> None:
    space = registry.get_space(name)
    rng = np.random.default_rng(0)
    writings = [rng.integers(0, space.radices).tolist() for _ in range(6000)]
    simple = [simplify(space.build(tuple(w)), space.semantics) for w in writings if space.is_valid(tuple(w))]
    keys = [key(nodes, space.semantics) for nodes in simple]
    judged = [certificate(nodes) for nodes in simple]
    counts = len(set(keys)), len(set(judged)), len(set(zip(keys, judged, strict=True)))
    assert counts[0] == counts[1] == counts[2] > 400


def test_nasbench101_matrices_judged_by_nauty(certificate: Callable[..., Any]) -> None:
    """The benchmark's own pruned matrices, instead of our DAGs with their sums."""
    space = nasbench101.space()
    rng = np.random.default_rng(1)
    keys, judged = [], []
    while len(keys) < 1500:
        made = tuple(rng.integers(0, space.radices).tolist())
        if space.is_valid(made):
            matrix, ops = nasbench101.to_matrix(space.decode(made))
            nodes = [(op, tuple(np.flatnonzero(column)), ()) for op, column in zip(ops, matrix.T, strict=True)]
            keys.append(space.key(space.decode(made)))
            judged.append(certificate([(op, tuple(map(int, inputs)), ()) for op, inputs, _ in nodes]))
    counts = len(set(keys)), len(set(judged)), len(set(zip(keys, judged, strict=True)))
    assert counts[0] == counts[1] == counts[2]


def test_written_keys_of_small_dags_by_enumeration(certificate: Callable[..., Any]) -> None:
    """Every DAG of three binary nodes over two ops, without sampling."""
    from graphnas.architecture import Node

    choices = [
        [(op, pair) for op in "ab" for pair in itertools.combinations_with_replacement(range(i), 2)] for i in (1, 2, 3)
    ]
    keys, judged = [], []
    for inner in itertools.product(*choices):
        nodes = [Node("input"), *(Node(op, pair) for op, pair in inner), Node("output", (3,))]
        keys.append(key(nodes, WRITTEN))
        judged.append(certificate(nodes))
    counts = len(set(keys)), len(set(judged)), len(set(zip(keys, judged, strict=True)))
    assert counts[0] == counts[1] == counts[2] > 50
