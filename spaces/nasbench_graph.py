"""NAS-Bench-Graph: four GNN operations in one of nine link patterns (Qin et al., NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from graphnas.architecture import Architecture, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Decisions, Relaxed, Space
from graphnas.tasks.base import Signature
from spaces.nasbench_graph_supernet import inherited, open_graph_cell
from spaces.skeletons import graph_cell

OPS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
LINKS = (
    (0, 0, 0, 0),
    (0, 0, 0, 1),
    (0, 0, 1, 1),
    (0, 0, 1, 2),
    (0, 0, 1, 3),
    (0, 1, 1, 1),
    (0, 1, 1, 2),
    (0, 1, 2, 2),
    (0, 1, 2, 3),
)
"""The input of each of the four nodes (0: the raw features); nodes that nobody reads feed the output."""

_ALL_SKIP = (8, 8, 8, 8)

SEMANTICS = Semantics(
    identity_ops=frozenset({"skip"}),
    drop_input_ops=frozenset({"concat"}),  # a raw input beside other leaves is not passed on
)


@lru_cache(maxsize=1)
def space() -> Space:
    """The 26,206 architectures (59,049 writings less isomorphic ones and the one without any operation)."""
    link = Choice("link", tuple(range(9)), "link")
    ops = [Choice(f"op{i}", OPS, "op") for i in range(1, 5)]
    nodes = [node("input")]
    for i, op in enumerate(ops):
        nodes.append(node(op, (link.at(*(pattern[i] for pattern in LINKS)),)))
    leaves = [link.at(*(None if i in pattern else i for pattern in LINKS)) for i in range(1, 5)]
    nodes.append(node("concat", leaves))
    nodes.append(node("output", (5,)))
    return Space(
        "nasbench_graph",
        nodes,
        semantics=SEMANTICS,
        valid=_has_operation,
        distinct=True,
        count=26_206,
        order=[link, *ops],
        network=_network,
        relaxed=_relaxed,
        size={"channels": 64, "dropout": 0.5},
        accepts=("node",),
        recipe={"optimiser": "sgd", "learning_rate": 0.3, "clip": 5.0},  # see benchmarks/gnn_recipe.py
        description="GNN of 4 operations out of 9 in 9 link patterns (NAS-Bench-Graph)",
    )


def _network(architecture: Architecture, signature: Signature, **size: Any) -> Architecture:
    open_ = any(n.op == "open" for n in architecture.nodes)
    return (open_graph_cell if open_ else graph_cell)(architecture, signature, **size)


def _relaxed() -> Relaxed:
    def same(architecture: Architecture) -> Architecture:
        return architecture

    def inherit(state: Mapping[str, Any], architecture: Architecture) -> dict[str, Any]:
        return inherited(state, space().describe(architecture), OPS, LINKS)

    return Relaxed(space(), same, same, inherit=inherit)


def _has_operation(decisions: Decisions) -> bool:
    return decisions[1:] != _ALL_SKIP


def to_number(architecture: Architecture) -> int:
    """The benchmark's own number of a writing: link * 10^4 + op1 * 10^3 + ... + op4."""
    link, *ops = space().encode(architecture)
    number = link
    for op in ops:
        number = 10 * number + op
    return number


def from_number(number: int) -> Architecture:
    """The architecture of a number in the benchmark's own writing."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise GraphnasError(f"a NAS-Bench-Graph number is a whole number, not {number!r}")
    return space().decode([number // 10_000, *(number // 10**k % 10 for k in (3, 2, 1, 0))])
