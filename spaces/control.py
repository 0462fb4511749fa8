"""Cells of encoders for control from pixels: RL-DARTS's two sets of operations and two macros (Miao et al., arXiv 2106.02229).

A cell has one input, state 0, and four nodes, states 1 to 4. A node sums operations on earlier states and normalises the sum. In the
supernet every earlier state has an operation; a derived node keeps the two of greatest weight (node 1 has one earlier state only). Both
sets have ``zero``, which competes in the search and is never derived. The result of a cell joins the four nodes, and a 1x1
convolution brings them back to the width of the cell (``output="concat"``), or is their sum, or the last node.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError, unknown
from graphnas.space import Choice, Relaxed, Space
from spaces.control_network import SIZE, control_network

ZERO = "zero"
OPS = {
    "micro": ("conv_3x3", "relu", "tanh", "skip", ZERO),
    "classic": ("conv_3x3_relu", "dil_conv_3x3_relu", "conv_5x5_relu", "dil_conv_5x5_relu", "skip", ZERO),
}
MACROS = {"impala": ("normal",), "reduction": ("normal", "reduce")}
"""The cells of each macro: IMPALA's reduces by convolution and max pooling, the other by a reduction cell."""
OUTPUTS = ("concat", "sum", "last")
NODES = 4
KEPT = 2
EDGES = tuple((source, target) for target in range(1, NODES + 1) for source in range(target))
"""All 10 edges (from, to) of a cell by target."""

SEMANTICS = Semantics(zero_ops=frozenset({ZERO}), identity_ops=frozenset({"skip"}))
"""A ``norm_sum`` of one input still normalises it, so it is no sum that could be left out."""

Edge = tuple[str, int, int, str]
"""Cell, from, to, operation."""


@cache
def edges(ops: str = "micro", macro: str = "impala", output: str = "concat") -> Space:
    """An operation on each of the ten edges of every cell, which may be ``zero``: what the supernet holds."""
    _check(ops, macro, output)
    nodes: list[Node] = []
    for cell in MACROS[macro]:
        state = [_input(nodes, cell)]
        for target in range(1, NODES + 1):
            made = []
            for source in range(target):
                op = Choice(f"{cell}.{source}->{target}", OPS[ops], cell)
                nodes.append(node(op, (state[source],), **_stride(cell, source)))
                made.append(len(nodes) - 1)
            state.append(_sum(nodes, made))
        _finish(nodes, state[1:], cell, output)
    return Space(
        _name(ops, macro, output) + "_edges",
        nodes,
        semantics=SEMANTICS,
        network=control_network,
        size=SIZE,
        accepts=("image",),
        description=f"encoders for control, {len(OPS[ops])} operations on all 10 edges of a cell ({macro} macro)",
    )


@cache
def space(ops: str = "micro", macro: str = "impala", output: str = "concat") -> Space:
    """Two earlier states with an operation each for every node of a cell (one for the first node).

    Args:
        ops: "micro" (convolution, ReLU, tanh, skip) or "classic" (convolutions with ReLU, skip).
        macro: "impala" (one cell is searched) or "reduction" (a normal and a reduction cell).
        output: the result of a cell: "concat", "sum" or "last".

    Raises:
        GraphnasError: another name.
    """
    _check(ops, macro, output)
    kept = tuple(op for op in OPS[ops] if op != ZERO)
    nodes: list[Node] = []
    for cell in MACROS[macro]:
        state = [_input(nodes, cell)]
        for target in range(1, NODES + 1):
            pairs = _pairs(target)
            pair = Choice(f"{cell}.{target}.inputs", pairs, "inputs") if len(pairs) > 1 else None
            made = []
            for side in range(len(pairs[0])):
                op = Choice(f"{cell}.{target}.op{side + 1}", kept, "op")
                strides = tuple(_stride(cell, p[side]).get("stride") for p in pairs)
                if pair is None:
                    source: Any = state[pairs[0][side]]
                    stride: Any = strides[0]
                else:
                    source = pair.at(*(state[p[side]] for p in pairs))
                    stride = pair.at(*strides) if any(strides) else None
                nodes.append(Node(op, (source,), () if stride is None else (("stride", stride),)))
                made.append(len(nodes) - 1)
            state.append(_sum(nodes, made))
        _finish(nodes, state[1:], cell, output)
    return Space(
        _name(ops, macro, output),
        nodes,
        semantics=SEMANTICS,
        network=control_network,
        size=SIZE,
        accepts=("image",),
        relaxed=partial(_relaxed, ops, macro, output),
        description=f"encoders for control from pixels, {len(kept)} operations ({ops}), {macro} macro (RL-DARTS)",
    )


def classic() -> Space:
    """Convolutions with ReLU in the IMPALA macro."""
    return space("classic")


def _name(ops: str, macro: str, output: str) -> str:
    parts = ["control", ops, *([] if macro == "impala" else [macro]), *([] if output == "concat" else [output])]
    return "_".join(parts)


def _check(ops: str, macro: str, output: str) -> None:
    for what, name, known in (("set of operations", ops, OPS), ("macro", macro, MACROS), ("output", output, OUTPUTS)):
        if name not in known:
            raise unknown(f"{what} of the control spaces", name, known)


def _pairs(target: int) -> tuple[tuple[int, ...], ...]:
    """The sets of earlier states that a node can keep."""
    return tuple(itertools.combinations(range(target), min(KEPT, target)))


def _input(nodes: list[Node], cell: str) -> int:
    nodes.append(node("input", name=cell))
    return len(nodes) - 1


def _stride(cell: str, source: int) -> dict[str, int]:
    return {"stride": 2} if cell == "reduce" and source == 0 else {}


def _sum(nodes: list[Node], terms: Sequence[int]) -> int:
    nodes.append(node("norm_sum", terms))
    return len(nodes) - 1


def _finish(nodes: list[Node], sums: Sequence[int], cell: str, output: str) -> None:
    if output != "last":
        nodes.append(node(output, sums))
    nodes.append(node("output", (len(nodes) - 1,), name=cell))


# -- between the two spaces ---------------------------------------------------------------------


def _relaxed(ops: str, macro: str, output: str) -> Relaxed:
    """All edges at once, of which two a node are kept."""
    to = partial(to_edges, ops=ops, macro=macro, output=output)
    back = partial(from_edges, ops=ops, macro=macro, output=output)
    return Relaxed(edges(ops, macro, output), to, back, keep=KEPT)


def to_edges(
    architecture: Architecture, ops: str = "micro", macro: str = "impala", output: str = "concat"
) -> Architecture:
    """The same cells as a member of ``edges``."""
    whole, chosen = edges(ops, macro, output), space(ops, macro, output).describe(architecture)
    at: dict[tuple[str, int, int], str] = {}
    for cell in MACROS[macro]:
        for target in range(1, NODES + 1):
            sources = chosen.get(f"{cell}.{target}.inputs", _pairs(target)[0])
            at.update({(cell, s, target): chosen[f"{cell}.{target}.op{i + 1}"] for i, s in enumerate(sources)})
    return whole.decode([c.options.index(at.get(_place(c.name), ZERO)) for c in whole.choices])


def from_edges(
    architecture: Architecture, ops: str = "micro", macro: str = "impala", output: str = "concat"
) -> Architecture:
    """The same cells as a member of ``space``.

    Raises:
        GraphnasError: a node that does not have exactly two operations other than ``zero`` (the first node: one).
    """
    whole, pairs = edges(ops, macro, output), space(ops, macro, output)
    found = [(_place(name), op) for name, op in whole.describe(architecture).items() if op != ZERO]
    chosen: dict[str, Any] = {}
    for cell in MACROS[macro]:
        for target in range(1, NODES + 1):
            here = {source: op for (c, source, t), op in found if (c, t) == (cell, target)}
            if len(here) != min(KEPT, target):
                raise GraphnasError(
                    f"node {target} of the {cell} cell has {len(here)} operations; in the space {pairs.name} it has "
                    f"{min(KEPT, target)} (the space {whole.name} holds others)"
                )
            chosen[f"{cell}.{target}.inputs"] = tuple(here)
            chosen.update({f"{cell}.{target}.op{i + 1}": op for i, op in enumerate(here.values())})
    return pairs.decode([c.options.index(chosen[c.name]) for c in pairs.choices])


def _place(name: str) -> tuple[str, int, int]:
    cell, _, edge = name.partition(".")
    source, _, target = edge.partition("->")
    return cell, int(source), int(target)
