"""NAS-Bench-101: a cell of at most 7 vertices and 9 edges with three operations (Ying et al., ICML 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError, unknown
from graphnas.space import Choice, Decisions, Space
from graphnas.tasks.base import Signature
from spaces.nasbench101_network import build

OPS = ("conv1x1-bn-relu", "conv3x3-bn-relu", "maxpool3x3")
MAX_VERTICES = 7
MAX_EDGES = 9
COUNT = 423_624
PAIRS = tuple((i, j) for j in range(1, MAX_VERTICES) for i in range(j))

SEMANTICS = Semantics()


@lru_cache(maxsize=1)
def space() -> Space:
    """The 423,624 distinct cells, written as 21 possible edges and 5 operations.

    ``sample`` is uniform over the valid writings (as the benchmark's own sampler), not over the distinct cells.
    """
    return _space_of(MAX_VERTICES, "nasbench101", COUNT)


def small_space(vertices: int) -> Space:
    """The sub-space of cells with at most ``vertices`` vertices (2 to 7); up to 5 it can be enumerated."""
    return _space_of(vertices, f"nasbench101-{vertices}", None)


def _space_of(vertices: int, name: str, count: int | None) -> Space:
    pairs = [(i, j) for i, j in PAIRS if j < vertices]
    edges = {(i, j): Choice(f"{i}->{j}", (0, 1), "edge") for i, j in pairs}
    ops = [Choice(f"op{v}", OPS, "op") for v in range(1, vertices - 1)]
    nodes = [node("input")]
    value = [0]
    for v in range(1, vertices):
        slots = [edges[u, v].at(None, value[u]) for u in range(v)]
        if v < vertices - 1:
            nodes.append(node("sum", slots))
            nodes.append(node(ops[v - 1], (len(nodes) - 1,)))
        else:
            nodes.append(node("concat", slots))
            nodes.append(node("output", (len(nodes) - 1,)))
        value.append(len(nodes) - 1)
    return Space(
        name,
        nodes,
        semantics=SEMANTICS,
        valid=_Rule(pairs, vertices),
        distinct=True,
        count=count,
        order=[*edges.values(), *ops],
        network=_network,
        size={"channels": 128, "cells": 3},
        accepts=("image",),
        recover=_recover if vertices == MAX_VERTICES else None,
        description="image cell of up to 7 vertices and 9 edges (NAS-Bench-101)",
    )


class _Rule:
    """An input-output path, and at most nine edges on such paths (the benchmark counts edges after pruning)."""

    def __init__(self, pairs: Sequence[tuple[int, int]], vertices: int) -> None:
        self.pairs = list(pairs)
        self.last = vertices - 1

    def __call__(self, decisions: Decisions) -> bool:
        chosen = [pair for pair, bit in zip(self.pairs, decisions, strict=False) if bit]
        forward = {0}
        for i, j in chosen:  # sorted by target, so one pass suffices
            if i in forward:
                forward.add(j)
        if self.last not in forward:
            return False
        if len(chosen) <= MAX_EDGES:
            return True
        backward = {self.last}
        for j in range(self.last, 0, -1):
            if j in backward:
                backward.update(i for i, target in chosen if target == j)
        live = forward & backward
        return sum(i in live and j in live for i, j in chosen) <= MAX_EDGES


def to_matrix(architecture: Architecture) -> tuple[np.ndarray, list[str]]:
    """The pruned adjacency matrix ``[v, v]`` (upper triangular, int8) and the vertex labels, as the benchmark writes them.

    Raises:
        GraphnasError: no valid NAS-Bench-101 cell.
    """
    nodes = prune(architecture).nodes
    vertices = [i for i, n in enumerate(nodes) if n.op not in ("sum", "concat")]
    index = {v: k for k, v in enumerate(vertices)}
    matrix = np.zeros((len(vertices), len(vertices)), dtype=np.int8)
    for v in vertices:
        for i in nodes[v].inputs:
            for source in nodes[i].inputs if nodes[i].op in ("sum", "concat") else (i,):
                matrix[index[source], index[v]] = 1
    return matrix, [nodes[v].op for v in vertices]


def _network(architecture: Architecture, signature: Signature, *, channels: int, cells: int) -> Architecture:
    matrix, ops = to_matrix(architecture)
    return build(matrix, ops, signature, channels=channels, cells=cells)


def _recover(architecture: Architecture) -> Architecture:
    return from_matrix(*to_matrix(architecture))


def prune(architecture: Architecture) -> Architecture:
    """The cell without the vertices that are not on a path from input to output."""
    dead: set[int] = set()
    kept: list[Node] = []
    for i, n in enumerate(architecture.nodes):
        inputs = tuple(j for j in n.inputs if j not in dead)
        if n.op != "input" and not inputs:
            dead.add(i)
        kept.append(Node(n.op, inputs, n.params))
    live = Architecture(kept).prune()
    return live


def from_matrix(matrix: np.ndarray | Sequence[Sequence[int]], ops: Sequence[str]) -> Architecture:
    """The architecture of an upper-triangular adjacency matrix ``[v, v]`` and its vertex labels.

    Raises:
        GraphnasError: wrong shape, not upper triangular, unknown labels, more than 9 edges, or no path.
    """
    try:
        table = np.asarray(matrix)
    except ValueError:
        raise GraphnasError("a NAS-Bench-101 matrix must have rows of equal length") from None
    n = len(ops)
    if table.shape != (n, n) or not 2 <= n <= MAX_VERTICES:
        raise GraphnasError(
            f"a NAS-Bench-101 matrix of shape {table.shape} does not fit {n} labels (2 to 7 are allowed)"
        )
    if np.any(np.tril(table)) or not np.all((table == 0) | (table == 1)):
        raise GraphnasError("a NAS-Bench-101 matrix must be strictly upper triangular with entries 0 and 1")
    if ops[0] != "input" or ops[-1] != "output":
        raise GraphnasError("the first NAS-Bench-101 label must be 'input' and the last 'output'")
    decisions = dict.fromkeys(PAIRS, 0)
    place = [*range(n - 1), MAX_VERTICES - 1]  # the output is always the last of seven vertices
    for i in range(n):
        for j in range(i + 1, n):
            decisions[place[i], place[j]] = int(table[i, j])
    chosen = []
    for op in ops[1:-1]:
        if op not in OPS:
            raise unknown("operation", op, OPS)
        chosen.append(OPS.index(op))
    return space().decode([*(decisions[pair] for pair in PAIRS), *chosen, *[0] * (MAX_VERTICES - n)])
