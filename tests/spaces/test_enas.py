"""ENAS's macro space and D-VAE's sample of it, against independent counts of isomorphism classes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from networkx.algorithms.isomorphism import categorical_node_match

from graphnas.architecture import Architecture
from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.testing import check_estimator, check_space
from graphnas.testing.rules import shuffled
from spaces import enas
from spaces.tables import enas as tables
from spaces.tables.import_enas import convert
from spaces.tables.importers import import_benchmark

SPACE = enas.space()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def compact() -> Path:
    path = find(tables.COMPACT)
    if path is None:
        pytest.skip(f"{tables.COMPACT} is missing: set GRAPHNAS_DATA to a folder that holds it")
    return path


def drawn_by_dvae(row: list[int]) -> nx.DiGraph:
    """D-VAE's own graph of a flattened row: vertex i - 1 and every vertex with a bit 1 has an edge into vertex i."""
    graph, place, layer = nx.DiGraph(), 0, 1
    graph.add_node(0, kind="input")
    while place < len(row):
        graph.add_node(layer, kind=row[place])
        graph.add_edge(layer - 1, layer)
        graph.add_edges_from((j, layer) for j in range(layer - 1) if row[place + 1 + j])
        place, layer = place + layer, layer + 1
    return graph


def test_the_space_keeps_the_rules_of_spaces() -> None:
    check_space(SPACE)
    check_space(enas.small_space(3))


def test_the_sizes_are_those_of_the_definition() -> None:
    assert SPACE.size == 6**6 * 2**15
    assert enas.small_space(3).size == 6**3 * 2**3
    assert len({enas.small_space(3).key(a) for a in enas.small_space(3).enumerate()}) == 6**3 * 2**3


def test_no_two_designs_are_isomorphic_by_an_independent_count() -> None:
    """All 64 ways to skip in four layers of one operation, by the key and by VF2 on D-VAE's graphs."""
    space = enas.small_space(4)
    rows = [[0, 0, a, 0, b, c, 0, d, e, f] for a, b, c, d, e, f in itertools.product((0, 1), repeat=6)]
    assert len({space.key(space.decode(row)) for row in rows}) == 64
    graphs = [drawn_by_dvae(row) for row in rows]
    match = categorical_node_match("kind", None)
    assert not any(nx.is_isomorphic(g, h, match) for g, h in itertools.combinations(graphs, 2))


def test_skips_are_added_behind_the_operation() -> None:
    row = [1, 4, 1, 5, 0, 1, 0, 1, 0, 1, 2, 0, 0, 0, 0, 3, 1, 1, 1, 1, 1]
    form = SPACE.canonical(SPACE.decode(row))
    ops = [i for i, n in enumerate(form.nodes) if n.op in enas.OPS]
    assert [form.nodes[i].op for i in ops] == [enas.OPS[row[p]] for p in (0, 1, 3, 6, 10, 15)]
    assert all(len(form.nodes[i].inputs) == 1 for i in ops)
    # One term for the operation and one for each bit; layers 1 and 5 add nothing, so they have no sum.
    assert sorted(len(n.inputs) for n in form.nodes if n.op == "sum") == [2, 2, 3, 6]
    source = {0: 0}
    for layer, i in enumerate(ops, start=1):
        readers = [k for k, n in enumerate(form.nodes) if n.op == "sum" and i in n.inputs]
        source[layer] = readers[0] if layer not in (1, 5) else i
        assert form.nodes[i].inputs == (source[layer - 1],)


def test_relabelled_and_simplified_members_are_recognised() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a = SPACE.sample(rng)
        decisions = SPACE.encode(a)
        for other in (SPACE.canonical(a), shuffled(Architecture(a.nodes), rng), Architecture(a.nodes)):
            assert SPACE.encode(other) == decisions
    nodes = list(SPACE.decode([0] * 21).nodes)
    nodes[1] = nodes[1]._replace(op="nor_conv_1x1")
    assert not SPACE.contains(Architecture(nodes))
    assert not SPACE.contains(enas.small_space(3).decode([0] * 6))


def test_the_table_holds_the_rows_of_the_file() -> None:
    with np.load(compact(), allow_pickle=False) as raw:
        rows, accuracy = raw["arch"].tolist(), raw["ws_acc"].tolist()
    estimator = tables.weight_sharing()
    distinct = {tuple(row) for row in rows}
    assert len(rows) == 20_020
    assert len(estimator.table) == len(distinct) == 20_015
    assert len({SPACE.key(SPACE.decode(row)) for row in distinct}) == 20_015
    assert estimator.table.columns["validation"].max() == pytest.approx(75.02)
    for row, value in list(zip(rows, accuracy, strict=True))[::40]:
        assert estimator.evaluate(SPACE.decode(row)).score == pytest.approx(100 * value, abs=1e-4)
    assert estimator.test(SPACE.decode(rows[0])) == {}
    assert rows[0] == [1, 4, 0, 5, 0, 0, 0, 1, 1, 1, 2, 1, 1, 1, 1, 3, 0, 0, 0, 0, 1]  # the file's first line
    check_estimator(estimator, architectures=[SPACE.decode(rows[i]) for i in (0, 7, -1)])


def lines(rows: list[list[int]], accuracy: list[float]) -> str:
    made = []
    for row, value in zip(rows, accuracy, strict=True):
        layers = [row[i * (i - 1) // 2 : i * (i + 1) // 2] for i in range(1, 7)]
        made.append(f"{json.dumps(layers)}, {value}\n")
    return "".join(made)


def test_the_text_file_gives_the_same_table(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(compact(), allow_pickle=False) as raw:
        rows, accuracy = raw["arch"].tolist(), [round(float(v), 4) for v in raw["ws_acc"]]
    expected = tables.table()
    path = tmp_path / "final_structures6.txt"
    path.write_text(lines(rows, accuracy))
    assert import_benchmark("enas6", path) == cache / "tables" / "enas6.npz"
    monkeypatch.delenv("GRAPHNAS_DATA", raising=False)
    imported = tables.table()
    assert imported.digest() == expected.digest()
    assert imported.description == "D-VAE, final_structures6.txt"


GOOD = "[[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]], 0.7302\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "[[1], [4, 0]], 0.7\n", "line 2 is not one of D-VAE's file"),
        (GOOD + GOOD.replace("0.7302", '"0.7"'), "line 2 is not one"),
        (GOOD + "__import__('os')\n", "line 2 is not one"),
        (GOOD + GOOD.replace("[4, 0]", "[4, true]"), "line 2 is not one"),
        (GOOD + "[" * 100_000 + "\n", "line 2 is not one"),
        (GOOD + GOOD.replace("[4, 0]", "[6, 0]"), "a decision is out of the range"),
        (GOOD + GOOD.replace("0.7302", "1.7302"), "outside of 0 to 1"),
        (GOOD + GOOD.replace("0.7302", "NaN"), "outside of 0 to 1"),
        (GOOD + GOOD.replace("0.7302", "0.7304"), "one network two accuracies"),
        ("", "holds 0 networks"),
    ],
)
def test_a_damaged_text_file_is_refused(text: str, message: str, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "final_structures6.txt"
    path.write_text(text)
    with pytest.raises(GraphnasError, match=message) as caught:
        convert(path, partial=True)
    assert "\n" not in str(caught.value)
    assert not cache.exists()
    with pytest.raises(GraphnasError, match="the official file has 20020"):
        convert(path)


def test_a_missing_table_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path))
    with pytest.raises(GraphnasError, match=r"is missing .*graphnas import enas6 FILE"):
        tables.weight_sharing()
