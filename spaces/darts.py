"""DARTS's image cells: a normal and a reduction cell of four sums over operations (Liu, Simonyan & Yang, ICLR 2019)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Decisions, Relaxed, Space
from spaces.darts_network import darts_network

OPS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
CELLS = ("normal", "reduce")
NODES = 4
EDGES = tuple((source, target) for target in range(2, 2 + NODES) for source in range(target))
"""States 0 and 1 are the results of the two cells before, 2 to 5 the sums; all 14 edges (from, to) by target."""

SEMANTICS = Semantics(zero_ops=frozenset({"none"}), identity_ops=frozenset({"skip_connect"}))
SIZE = {"channels": 16, "cells": 8, "auxiliary": False, "drop_path": 0.0, "affine": True}


def edge_space(name: str, options: Mapping[tuple[str, int, int], Sequence[str]], description: str) -> Space:
    """A space in which every edge of both cells has an operation: the options of each (cell, from, to).

    This is the form that a supernet relaxes. In reduction cells, the operations on the two inputs have stride 2.
    """
    nodes: list[Node] = []
    for cell in CELLS:
        state = _inputs(nodes, cell)
        for target in range(2, 2 + NODES):
            made = []
            for source in range(target):
                op = Choice(f"{cell}.{source}->{target}", tuple(options[cell, source, target]), cell)
                nodes.append(node(op, (state[source],), **_stride(cell, source)))
                made.append(len(nodes) - 1)
            state.append(_sum(nodes, made))
        _finish(nodes, state[2:], cell)
    return Space(
        name, nodes, semantics=SEMANTICS, network=darts_network, size=SIZE, accepts=("image",), description=description
    )


@lru_cache(maxsize=1)
def edges() -> Space:
    """One of eight operations on each of the 28 edges: what DARTS's supernet holds, and what SNAS derives from it."""
    every = {(cell, *edge): OPS for cell in CELLS for edge in EDGES}
    return edge_space("darts_edges", every, "image cells, 8 operations on all 14 edges of two cells (SNAS)")


@lru_cache(maxsize=1)
def space() -> Space:
    """Two inputs with one of seven operations each for every sum: (180 * 7^8)^2, about 1.08e18 writings."""
    nodes: list[Node] = []
    for cell in CELLS:
        state = _inputs(nodes, cell)
        for target in range(2, 2 + NODES):
            pairs = tuple(itertools.combinations(range(target), 2))
            pair = Choice(f"{cell}.{target}.inputs", pairs, "inputs") if len(pairs) > 1 else None
            made = []
            for side in (0, 1):
                op = Choice(f"{cell}.{target}.op{side + 1}", OPS[1:], "op")
                if pair is None:
                    source, stride = state[pairs[0][side]], _stride(cell, pairs[0][side])
                else:
                    source = pair.at(*(state[p[side]] for p in pairs))  # type: ignore[assignment]
                    stride = {"stride": pair.at(*(_stride(cell, p[side]).get("stride") for p in pairs))}
                    stride = stride if cell == "reduce" else {}
                nodes.append(Node(op, (source,), tuple(stride.items())))
                made.append(len(nodes) - 1)
            state.append(_sum(nodes, made))
        _finish(nodes, state[2:], cell)
    return Space(
        "darts",
        nodes,
        semantics=SEMANTICS,
        network=darts_network,
        size=SIZE,
        accepts=("image",),
        relaxed=lambda: Relaxed(edges(), to_edges, from_edges),
        description="image cells, 2 inputs with 7 operations for each of 4 sums in two cells (DARTS)",
    )


def _inputs(nodes: list[Node], cell: str) -> list[int]:
    nodes += [node("input", name=f"{cell}.{i}") for i in range(2)]
    return [len(nodes) - 2, len(nodes) - 1]


def _stride(cell: str, source: int) -> dict[str, Any]:
    return {"stride": 2} if cell == "reduce" and source < 2 else {}


def _sum(nodes: list[Node], terms: Sequence[int]) -> int:
    nodes.append(node("sum", terms))
    return len(nodes) - 1


def _finish(nodes: list[Node], sums: Sequence[int], cell: str) -> None:
    nodes.append(node("concat", sums))
    nodes.append(node("output", (len(nodes) - 1,), name=cell))


# -- between the two spaces ---------------------------------------------------------------------

Edge = tuple[str, int, int, str]
"""Cell, from, to, operation."""


def operations(architecture: Architecture) -> list[Edge]:
    """The operations of an architecture of either space that are not ``none``, by cell, target and source."""
    if architecture.decisions_in(edges()) is not None or not space().contains(architecture):
        decisions = edges().encode(architecture)
        found = [(*_place(c.name), c.options[d]) for c, d in zip(edges().choices, decisions, strict=True)]
        return [edge for edge in found if edge[3] != "none"]  # type: ignore[misc]
    chosen = space().describe(architecture)
    made: list[Edge] = []
    for cell in CELLS:
        for target in range(2, 2 + NODES):
            pair = chosen.get(f"{cell}.{target}.inputs", (0, 1))
            made += [(cell, pair[side], target, chosen[f"{cell}.{target}.op{side + 1}"]) for side in (0, 1)]
    return made


def _place(name: str) -> tuple[str, int, int]:
    cell, _, edge = name.partition(".")
    source, _, target = edge.partition("->")
    return cell, int(source), int(target)


def to_edges(architecture: Architecture) -> Architecture:
    """The same cells as a member of ``edges``."""
    ops = {(cell, source, target): op for cell, source, target, op in operations(architecture)}
    return edges().decode([OPS.index(ops.get(_place(c.name), "none")) for c in edges().choices])


def from_edges(architecture: Architecture) -> Architecture:
    """The same cells as a member of ``space``.

    Raises:
        GraphnasError: a sum that does not have exactly two operations.
    """
    return of_operations(operations(architecture))


def of_operations(made: Sequence[Edge]) -> Architecture:
    """The member of ``space`` with these operations.

    Raises:
        GraphnasError: a sum that does not have exactly two operations on different inputs, or an unknown operation.
    """
    decisions: list[int] = []
    for cell in CELLS:
        for target in range(2, 2 + NODES):
            here = sorted((source, op) for c, source, t, op in made if (c, t) == (cell, target))
            if len({source for source, _ in here}) != 2 or len(here) != 2:
                raise GraphnasError(
                    f"sum {target} of the {cell} cell has operations on {[s for s, _ in here]}; in the space darts each sum has "
                    "one on each of two inputs (the space darts_edges holds others)"
                )
            if target > 2:
                pairs = list(itertools.combinations(range(target), 2))
                decisions.append(pairs.index((here[0][0], here[1][0])))
            for _, op in here:
                if op not in OPS[1:]:
                    raise GraphnasError(f"operation {op!r} is not one of the space darts: {', '.join(OPS[1:])}")
                decisions.append(OPS[1:].index(op))
    return space().decode(_in_order(decisions))


def _in_order(decisions: Sequence[int]) -> Decisions:
    """From (inputs, op1, op2) of each sum to the order of the choices of ``space``."""
    names = []
    for cell in CELLS:
        for target in range(2, 2 + NODES):
            names += ([f"{cell}.{target}.inputs"] if target > 2 else []) + [f"{cell}.{target}.op{i}" for i in (1, 2)]
    at = dict(zip(names, decisions, strict=True))
    return tuple(at[c.name] for c in space().choices)
