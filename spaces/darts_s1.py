"""RobustDARTS's S1: DARTS's cells with two operations of its own on every edge (Zela et al., ICLR 2020)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

from graphnas.architecture import Architecture, Node
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Relaxed, Space
from spaces import darts
from spaces.darts import CELLS, EDGES, NODES, Edge
from spaces.darts_network import darts_network

_SHORT = {
    "s": "skip_connect",
    "m": "max_pool_3x3",
    "a": "avg_pool_3x3",
    "c": "sep_conv_3x3",
    "3": "dil_conv_3x3",
    "5": "dil_conv_5x5",
}
_LISTS = {
    "normal": "s3 s5 s5 sc s3 ms sc sc s3 sc ms s3 35 35",
    "reduce": "ma m3 ma ma s5 ma mc s3 s5 ma ma s5 s5 s5",
}
OPS = {
    (cell, *edge): tuple(_SHORT[letter] for letter in pair)
    for cell, pairs in _LISTS.items()
    for edge, pair in zip(EDGES, pairs.split(), strict=True)
}
"""The two operations of each edge (cell, from, to): what is left of DARTS's space after a search that dropped the weakest
operation of every edge step by step, as published in the paper's repository."""


@lru_cache(maxsize=1)
def space() -> Space:
    """Two inputs for every sum, each with one of the edge's two operations: (180 * 2^8)^2, about 2.1e9 writings.

    The inputs of a sum and their operations are one decision, because the edge decides what can be chosen.
    """
    nodes: list[Node] = []
    for cell in CELLS:
        state = darts.cell_inputs(nodes, cell)
        for target in range(2, 2 + NODES):
            combinations = _combinations(cell, target)
            both = Choice(f"{cell}.{target}", combinations, "inputs and ops")
            made = []
            for side in (0, 1):
                of_side = [combination[side] for combination in combinations]
                source, op = (both.at(*values) for values in zip(*((state[s], o) for s, o in of_side), strict=True))
                strides = [darts.stride_of(cell, s).get("stride") for s, _ in of_side]
                params = (("stride", both.at(*strides)),) if cell == "reduce" else ()
                nodes.append(Node(op, (source,), params))
                made.append(len(nodes) - 1)
            state.append(darts.add_sum(nodes, made))
        darts.close_cell(nodes, state[2:], cell)
    return Space(
        "darts_s1",
        nodes,
        semantics=darts.SEMANTICS,
        network=darts_network,
        size=darts.SIZE,
        accepts=("image",),
        recipe=darts.RECIPE,
        relaxed=_relaxed,
        description="image cells, 2 inputs with 2 operations of each edge's own for each of 4 sums in two cells (RobustDARTS's S1)",
    )


def _combinations(cell: str, target: int) -> tuple[tuple[tuple[int, str], tuple[int, str]], ...]:
    """((from, op), (from, op)) for all pairs of inputs of a sum."""
    return tuple(
        ((i, a), (j, b))
        for i, j in itertools.combinations(range(target), 2)
        for a, b in itertools.product(OPS[cell, i, target], OPS[cell, j, target])
    )


def _relaxed() -> Relaxed:
    """All of DARTS's edges at once, of whose operations S1's are left."""
    whole = darts.edges()
    names = {(cell, *edge): f"{cell}.{edge[0]}->{edge[1]}" for cell in CELLS for edge in EDGES}
    absent = {names[edge]: tuple(op for op in ("none", *darts.OPS[1:]) if op not in ops) for edge, ops in OPS.items()}
    return Relaxed(whole, to_edges, from_edges, keep=2, absent=absent)


def operations(architecture: Architecture) -> list[Edge]:
    """The eight operations of each cell of an architecture, by cell, target and source.

    Raises:
        GraphnasError: an architecture of another space.
    """
    chosen = space().describe(architecture)
    return [
        (cell, source, target, op)
        for cell in CELLS
        for target in range(2, 2 + NODES)
        for source, op in chosen[f"{cell}.{target}"]
    ]


def of_operations(made: Sequence[Edge]) -> Architecture:
    """The member of the space with these operations.

    Raises:
        GraphnasError: a sum without exactly two operations on different inputs, or an operation that its edge does not have.
    """
    for cell, source, target, op in made:
        allowed = OPS.get((cell, source, target), ())
        if op not in allowed:
            raise GraphnasError(
                f"operation {op!r} on the edge from {source} to {target} of the {cell} cell is not one of the space darts_s1, "
                f"which has {' and '.join(allowed) or 'no such edge'} there"
            )
    decisions = []
    for cell in CELLS:
        for at in range(2, 2 + NODES):
            here = sorted((source, op) for c, source, t, op in made if (c, t) == (cell, at))
            known = _combinations(cell, at)
            if len(here) != 2 or here[0][0] == here[1][0]:
                raise GraphnasError(
                    f"sum {at} of the {cell} cell has operations on {[s for s, _ in here]}; in the space darts_s1 each sum has "
                    "one on each of two inputs"
                )
            decisions.append(known.index((here[0], here[1])))
    return space().decode(decisions)


def to_edges(architecture: Architecture) -> Architecture:
    """The same cells as a member of ``spaces.darts.edges()``."""
    return darts.with_operations(operations(architecture))


def from_edges(architecture: Architecture) -> Architecture:
    """The same cells as a member of ``space``.

    Raises:
        GraphnasError: operations that S1 does not have.
    """
    return of_operations(darts.operations(architecture))
