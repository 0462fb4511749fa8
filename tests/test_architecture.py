"""Architectures: what is accepted, what is refused in one sentence, and that they are values."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Any

import networkx as nx
import numpy as np
import pytest

from graphnas.architecture import FORMAT, MAX_NODES, VERSION, Architecture, Node, node
from graphnas.canonical import WRITTEN, Semantics, key
from graphnas.errors import GraphnasError
from graphnas.testing.rules import shuffled

DIAMOND = Architecture(
    [node("input", name="x"), node("conv", [0], kernel=3), node("pool", [0]), node("sum", [1, 2]), node("output", [3])]
)


def text(nodes: Any, **fields: Any) -> str:
    return json.dumps({"format": FORMAT, "version": VERSION, "nodes": nodes, **fields})


IO = [{"op": "input"}, {"op": "output", "inputs": [0]}]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([], "needs a node with op 'output'"),
        ([node("input"), node("conv", [0])], "needs a node with op 'output'"),
        ([node("input"), node("a", [2]), node("b", [1]), node("output", [2])], "form a cycle or are not sorted"),
        ([node("input"), node("a", [1]), node("output", [1])], "form a cycle or are not sorted"),
        ([node("input"), node("a", [7]), node("output", [1])], "reads node 7, which does not exist"),
        ([node("input"), node("a", [-1]), node("output", [1])], "reads node -1, which does not exist"),
        ([node("input"), node("a", [0.0]), node("output", [1])], "not a node index"),
        ([node("input"), node("a", [True]), node("output", [1])], "not a node index"),
        ([node("input"), node("output", [0]), node("a", [1])], "which is an output"),
        ([node("a"), node("input", [0]), node("output", [1])], "cannot read other nodes"),
        ([node("input"), node("a b", [0]), node("output", [1])], "has the op name"),
        ([node("input"), node("", [0]), node("output", [1])], "has the op name"),
        ([node("input"), node("a" * 101, [0]), node("output", [1])], "has the op name"),
    ],
)
def test_what_is_no_dag_is_refused(nodes: list[Node], said: str) -> None:
    with pytest.raises(GraphnasError, match=said):
        Architecture(nodes)


def test_the_limit_of_nodes() -> None:
    assert len(Architecture([node("input")] * (MAX_NODES - 1) + [node("output", [0])])) == MAX_NODES
    with pytest.raises(GraphnasError, match="exceeds the limit"):
        Architecture([node("input")] * MAX_NODES + [node("output", [0])])


@pytest.mark.parametrize(
    "given",
    [
        "",
        "null",
        "[]",
        "3",
        '"text"',
        "{",
        "[" * 200_000,
        '{"nodes": []}',
        text(IO, format="other"),
        text(IO, version=2),
        text(IO, version="1"),
        text(None),
        text({"0": {}}),
        text("input"),
        text([3]),
        text([{"op": 3}]),
        text([{"inputs": []}]),
        text([{"op": "input", "inputs": "0"}]),
        text([{"op": "input", "params": []}]),
        text([{"op": "input"}, {"op": "output", "inputs": ["0"]}]),
        text([{"op": "input"}, {"op": "output", "inputs": [[0]]}]),
        text([{"op": "input"}, {"op": "output", "inputs": [10**30]}]),
        text([{"op": "input"}, {"op": "output", "inputs": [float("nan")]}]),
        text([{"op": "input", "params": {"a": {"b": 1}}}, IO[1]]),
        text([{"op": "input"}] * (MAX_NODES + 1)),
        text([{"op": "__import__('os')"}, IO[1]]),
    ],
)
def test_hostile_json_is_refused_in_one_sentence(given: str) -> None:
    with pytest.raises(GraphnasError) as caught:
        Architecture.from_json(given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def with_param(value: str) -> str:
    return text(IO).replace('{"op": "input"}', '{"op": "input", "params": {"k": ' + value + "}}")


@pytest.mark.parametrize("value", ["[" * 700 + "]" * 700, "9" * 5000, "NaN", "-Infinity", "1e999"])
def test_parameters_that_cannot_be_compared_or_written_are_refused(value: str) -> None:
    with pytest.raises(GraphnasError):
        Architecture.from_json(with_param(value))


def test_only_given_ops_are_accepted() -> None:
    assert Architecture.from_json(DIAMOND.to_json(), ["input", "conv", "pool", "sum", "output"]) == DIAMOND
    with pytest.raises(GraphnasError, match=r"unknown op of node 1: 'conv'.*conv3"):
        Architecture.from_json(DIAMOND.to_json(), ["input", "conv3", "pool", "sum", "output"])


def test_architectures_are_values() -> None:
    copies = [
        Architecture(DIAMOND.nodes),
        Architecture.from_json(DIAMOND.to_json()),
        pickle.loads(pickle.dumps(DIAMOND)),
        eval(repr(DIAMOND.nodes), {"Node": Node}) and Architecture(eval(repr(DIAMOND.nodes), {"Node": Node})),
    ]
    assert all(c == DIAMOND and hash(c) == hash(DIAMOND) and len({c, DIAMOND}) == 1 for c in copies)
    assert DIAMOND.relabel([0, 2, 1, 3, 4]) != DIAMOND
    assert DIAMOND.nodes != DIAMOND
    with pytest.raises(AttributeError):
        DIAMOND.nodes = ()  # type: ignore[misc]
    assert json.loads(DIAMOND.to_json())["nodes"][1] == {"op": "conv", "inputs": [0], "params": {"kernel": 3}}


def test_parameters_are_sorted_and_hashable() -> None:
    assert node("a", b=[1, [2]], a=None) == Node("a", (), (("a", None), ("b", (1, (2,)))))
    assert node("a", k=1).get("k") == 1
    assert node("a", k=1).get("other", 7) == 7
    with pytest.raises(TypeError):
        node("a", k=np.zeros(2))


def test_relabelling_must_be_topological() -> None:
    moved = DIAMOND.relabel([0, 2, 1, 3, 4])
    assert [n.op for n in moved.nodes] == ["input", "pool", "conv", "sum", "output"]
    assert moved.nodes[3].inputs == (2, 1)
    assert moved.relabel([0, 2, 1, 3, 4]) == DIAMOND
    for order in ([0, 1, 2, 3], [0, 1, 2, 3, 3], [0, 3, 1, 2, 4]):
        with pytest.raises(GraphnasError):
            DIAMOND.relabel(order)


def test_pruning_depth_and_consumers_agree_with_networkx() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        nodes = [node("input"), node("input")]
        for i in range(2, 9):
            nodes.append(node("op", rng.integers(0, i, size=2).tolist(), place=i))
        a = Architecture([*nodes, node("output", [int(rng.integers(0, 9))])])
        graph = nx.MultiDiGraph(a.edges)
        graph.add_nodes_from(range(len(a)))
        live = nx.ancestors(graph, 9) | {0, 1, 9}
        pruned = a.prune()
        assert [n.get("place") for n in pruned.nodes] == [a.nodes[i].get("place") for i in sorted(live)]
        assert pruned.prune() == pruned
        assert a.outputs == (9,)
        longest = nx.dag_longest_path_length(
            graph.subgraph(nx.ancestors(graph, 9) | {9}), weight=None, default_weight=1
        )
        assert a.depth() == pruned.depth() == longest
        assert [sorted(c) for c in a.consumers()] == [sorted(v for _, v in graph.out_edges(i)) for i in range(10)]
        again = shuffled(a, rng)
        assert nx.is_isomorphic(nx.MultiDiGraph(again.edges), nx.MultiDiGraph(a.edges))


def fresh_key(preparation: str) -> str:
    code = (
        "from graphnas.architecture import node\nfrom graphnas.canonical import Semantics, key\n"
        "def dag(**p): return [node('input'), node('att', [0], **p), node('output', [1])]\n"
        f"{preparation}\nprint(key(dag(k=(1,)), Semantics()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_key_is_the_same_in_every_process() -> None:
    here = key([node("input"), node("att", [0], k=(1,)), node("output", [1])], WRITTEN)
    assert here == fresh_key("") == fresh_key("key(dag(), Semantics())")


@pytest.mark.parametrize(
    "preparation", ["key(dag(k=(1,)), Semantics(ordered_ops=frozenset({'att'})))", "key(dag(k=(1.0,)), Semantics())"]
)
def test_a_key_does_not_depend_on_what_was_compared_before(preparation: str) -> None:
    assert fresh_key("") == fresh_key(preparation)


def test_large_integers_are_told_apart() -> None:
    def of(value: int) -> str:
        return key([node("input"), node("a", [0], k=value), node("output", [1])], Semantics())

    assert of(2**53) != of(2**53 + 1)
    assert of(10**400) != of(10**400 + 1)
