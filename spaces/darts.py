"""DARTS's image cells: a normal and a reduction cell of four sums over operations (Liu, Simonyan & Yang, ICLR 2019)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
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

FAMILIES = {
    "darts": OPS[1:],
    "darts_s2": ("skip_connect", "sep_conv_3x3"),
    "darts_s3": ("skip_connect", "sep_conv_3x3"),
    "darts_s4": ("noise", "sep_conv_3x3"),
}
"""The operations of DARTS's space and of RobustDARTS's reduced ones (Zela et al., ICLR 2020); S1, which has other
operations on every edge, is ``spaces.darts_s1``."""
WITH_NONE = frozenset({"darts", "darts_s3"})
"""In these, ``none`` competes in the search, though it is never chosen; in the others the supernet does not have it."""

SEMANTICS = Semantics(zero_ops=frozenset({"none"}), identity_ops=frozenset({"skip_connect"}))
RECIPE = {"learning_rate": 0.025, "weight_decay": 3e-4, "clip": 5.0, "cutout": 0.5, "nesterov": False}
"""How DARTS trains what it has found; the auxiliary head and drop-path are sizes of the network."""
SIZE = {"channels": 16, "cells": 8, "auxiliary": False, "drop_path": 0.0, "affine": True}


def edge_space(name: str, options: Mapping[tuple[str, int, int], Sequence[str]], description: str) -> Space:
    """A space in which every edge of both cells has an operation: the options of each (cell, from, to).

    This is the form that a supernet relaxes. In reduction cells, the operations on the two inputs have stride 2.
    """
    nodes: list[Node] = []
    for cell in CELLS:
        state = cell_inputs(nodes, cell)
        for target in range(2, 2 + NODES):
            made = []
            for source in range(target):
                op = Choice(f"{cell}.{source}->{target}", tuple(options[cell, source, target]), cell)
                nodes.append(node(op, (state[source],), **stride_of(cell, source)))
                made.append(len(nodes) - 1)
            state.append(add_sum(nodes, made))
        close_cell(nodes, state[2:], cell)
    return Space(
        name, nodes, semantics=SEMANTICS, network=darts_network, size=SIZE, accepts=("image",), description=description
    )


@lru_cache(maxsize=len(FAMILIES))
def edges(family: str = "darts") -> Space:
    """One of eight operations on each of the 28 edges: what DARTS's supernet holds, and what SNAS derives from it.

    Of the reduced families: ``none`` or one of theirs.
    """
    ops = ("none", *FAMILIES[family])
    every = {(cell, *edge): ops for cell in CELLS for edge in EDGES}
    return edge_space(
        f"{family}_edges", every, f"image cells, {len(ops)} operations on all 14 edges of two cells (SNAS)"
    )


@lru_cache(maxsize=len(FAMILIES))
def space(family: str = "darts") -> Space:
    """Two inputs with one of seven operations each for every sum: (180 * 7^8)^2, about 1.08e18 writings."""
    ops = FAMILIES[family]
    nodes: list[Node] = []
    for cell in CELLS:
        state = cell_inputs(nodes, cell)
        for target in range(2, 2 + NODES):
            pairs = tuple(itertools.combinations(range(target), 2))
            pair = Choice(f"{cell}.{target}.inputs", pairs, "inputs") if len(pairs) > 1 else None
            made = []
            for side in (0, 1):
                op = Choice(f"{cell}.{target}.op{side + 1}", ops, "op")
                if pair is None:
                    source, stride = state[pairs[0][side]], stride_of(cell, pairs[0][side])
                else:
                    source = pair.at(*(state[p[side]] for p in pairs))  # type: ignore[assignment]
                    stride = {"stride": pair.at(*(stride_of(cell, p[side]).get("stride") for p in pairs))}
                    stride = stride if cell == "reduce" else {}
                nodes.append(Node(op, (source,), tuple(stride.items())))
                made.append(len(nodes) - 1)
            state.append(add_sum(nodes, made))
        close_cell(nodes, state[2:], cell)
    source_name = "DARTS" if family == "darts" else f"RobustDARTS's {family[-2:].upper()}"
    return Space(
        family,
        nodes,
        semantics=SEMANTICS,
        network=darts_network,
        size=SIZE,
        accepts=("image",),
        recipe=RECIPE,
        relaxed=partial(_relaxed, family),
        description=f"image cells, 2 inputs with {len(ops)} operations for each of 4 sums in two cells ({source_name})",
    )


def _relaxed(family: str) -> Relaxed:
    """All edges at once, of which two a sum are kept."""
    to, back = partial(to_edges, family=family), partial(from_edges, family=family)
    return Relaxed(edges(family), to, back, keep=2, absent=() if family in WITH_NONE else ("none",))


def s2() -> Space:
    """RobustDARTS's S2: skip and separable 3x3 convolution."""
    return space("darts_s2")


def s3() -> Space:
    """RobustDARTS's S3: as S2, and ``none`` competes in the search."""
    return space("darts_s3")


def s4() -> Space:
    """RobustDARTS's S4: noise and separable 3x3 convolution; a search that chooses noise has gone wrong."""
    return space("darts_s4")


def cell_inputs(nodes: list[Node], cell: str) -> list[int]:
    """Add the two inputs of a cell to a template; their places."""
    nodes += [node("input", name=f"{cell}.{i}") for i in range(2)]
    return [len(nodes) - 2, len(nodes) - 1]


def stride_of(cell: str, source: int) -> dict[str, Any]:
    """The parameters of an operation on this state: its stride, where it halves the resolution."""
    return {"stride": 2} if cell == "reduce" and source < 2 else {}


def add_sum(nodes: list[Node], terms: Sequence[int]) -> int:
    """Add a sum to a template; its place."""
    nodes.append(node("sum", terms))
    return len(nodes) - 1


def close_cell(nodes: list[Node], sums: Sequence[int], cell: str) -> None:
    """Add the concatenation of a cell's sums and its output to a template."""
    nodes.append(node("concat", sums))
    nodes.append(node("output", (len(nodes) - 1,), name=cell))


# -- between the two spaces ---------------------------------------------------------------------

Edge = tuple[str, int, int, str]
"""Cell, from, to, operation."""


def operations(architecture: Architecture, family: str = "darts") -> list[Edge]:
    """The operations of an architecture of either space that are not ``none``, by cell, target and source."""
    whole, pairs = edges(family), space(family)
    if architecture.decisions_in(pairs) is None and whole.contains(architecture):
        decisions = whole.encode(architecture)
        found = [(*_place(c.name), c.options[d]) for c, d in zip(whole.choices, decisions, strict=True)]
        return [edge for edge in found if edge[3] != "none"]  # type: ignore[misc]
    chosen = pairs.describe(architecture)
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


def to_edges(architecture: Architecture, family: str = "darts") -> Architecture:
    """The same cells as a member of ``edges``."""
    return with_operations(operations(architecture, family), family)


def with_operations(made: Sequence[Edge], family: str = "darts") -> Architecture:
    """The member of ``edges`` with these operations, and ``none`` elsewhere."""
    whole = edges(family)
    ops = {(cell, source, target): op for cell, source, target, op in made}
    return whole.decode([c.options.index(ops.get(_place(c.name), "none")) for c in whole.choices])


def from_edges(architecture: Architecture, family: str = "darts") -> Architecture:
    """The same cells as a member of ``space``.

    Raises:
        GraphnasError: a sum that does not have exactly two operations.
    """
    return of_operations(operations(architecture, family), family)


def of_operations(made: Sequence[Edge], family: str = "darts") -> Architecture:
    """The member of ``space`` with these operations.

    Raises:
        GraphnasError: a sum that does not have exactly two operations on different inputs, or an unknown operation.
    """
    ops = FAMILIES[family]
    decisions: list[int] = []
    for cell in CELLS:
        for target in range(2, 2 + NODES):
            here = sorted((source, op) for c, source, t, op in made if (c, t) == (cell, target))
            if len({source for source, _ in here}) != 2 or len(here) != 2:
                raise GraphnasError(
                    f"sum {target} of the {cell} cell has operations on {[s for s, _ in here]}; in the space {family} each "
                    f"sum has one on each of two inputs (the space {family}_edges holds others)"
                )
            if target > 2:
                pairs = list(itertools.combinations(range(target), 2))
                decisions.append(pairs.index((here[0][0], here[1][0])))
            for _, op in here:
                if op not in ops:
                    raise GraphnasError(f"operation {op!r} is not one of the space {family}: {', '.join(ops)}")
                decisions.append(ops.index(op))
    return space(family).decode(_in_order(decisions))


def _in_order(decisions: Sequence[int]) -> Decisions:
    """From (inputs, op1, op2) of each sum to the order of the choices of ``space``."""
    names = []
    for cell in CELLS:
        for target in range(2, 2 + NODES):
            names += ([f"{cell}.{target}.inputs"] if target > 2 else []) + [f"{cell}.{target}.op{i}" for i in (1, 2)]
    at = dict(zip(names, decisions, strict=True))
    return tuple(at[c.name] for c in space().choices)
