"""NAS-Bench-201: a cell of four states and six edges, each with one of five operations (Dong & Yang, ICLR 2020)."""

from __future__ import annotations

from functools import lru_cache

from graphnas.architecture import Architecture, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError, unknown
from graphnas.space import Choice, Space
from spaces.skeletons import stacked_cells

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))

SEMANTICS = Semantics(zero_ops=frozenset({"none"}), identity_ops=frozenset({"skip_connect"}))


@lru_cache(maxsize=1)
def space() -> Space:
    """The 15,625 cells; the order of decisions is that of the architecture string (``EDGES``)."""
    choices = {edge: Choice(f"{edge[0]}->{edge[1]}", OPS, "op") for edge in EDGES}
    nodes = [node("input")]
    state = {0: 0}
    for target in (1, 2, 3):
        first = len(nodes)
        for source in range(target):
            nodes.append(node(choices[source, target], (state[source],)))
        nodes.append(node("sum", range(first, len(nodes))))
        state[target] = len(nodes) - 1
    nodes.append(node("output", (state[3],)))
    return Space(
        "nasbench201",
        nodes,
        semantics=SEMANTICS,
        network=stacked_cells,
        size={"channels": 16, "cells": 5, "affine": True},
        accepts=("image",),
        description="image cell, 5 operations on 6 edges (NAS-Bench-201)",
    )


def to_string(architecture: Architecture) -> str:
    """The benchmark's own writing, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``."""
    decisions = space().encode(architecture)
    rows = []
    for target in (1, 2, 3):
        cells = [f"{OPS[d]}~{i}" for (i, j), d in zip(EDGES, decisions, strict=True) if j == target]
        rows.append("|" + "|".join(cells) + "|")
    return "+".join(rows)


def from_string(text: str) -> Architecture:
    """The architecture of a string in the benchmark's own writing.

    Raises:
        GraphnasError: another form, or an unknown operation.
    """
    rows = text.strip().split("+")
    decisions: dict[tuple[int, int], int] = {}
    repeated = False
    for target, row in enumerate(rows, start=1):
        for cell in row.strip("|").split("|"):
            op, _, source = cell.partition("~")
            if op not in OPS:
                raise unknown("operation", op, OPS)
            if source not in ("0", "1", "2"):
                raise GraphnasError(
                    f"{cell!r} in the architecture string {text!r} lacks its source, as in 'skip_connect~0'"
                )
            repeated = repeated or (int(source), target) in decisions
            decisions[int(source), target] = OPS.index(op)
    if repeated or set(decisions) != set(EDGES):
        raise GraphnasError(
            f"the architecture string {text!r} does not have each of the edges 0>1, 0>2, 1>2, 0>3, 1>3, 2>3 once"
        )
    return space().decode([decisions[edge] for edge in EDGES])


def unique_string(architecture: Architecture, *, keep_zero: bool) -> str:
    """The benchmark's own notion of equality: the expression of the cell, with skips contracted (its ``to_unique_str``).

    Weights are taken as tied, so two separate convolutions of one state count as one. Terms of a sum are sorted as
    text, so that sums nested through skips are flattened only in part: 12,751 classes without a rule for
    zeros, 6,466 when operations on a zero become zero (``keep_zero``).
    """
    expression = ["0"]
    decisions = dict(zip(EDGES, space().encode(architecture), strict=True))
    for target in (1, 2, 3):
        terms = []
        for source in range(target):
            op, inner = OPS[decisions[source, target]], expression[source]
            if keep_zero and (op == "none" or inner == "#"):
                terms.append("#")
            elif op == "skip_connect":
                terms.append(inner)
            else:
                terms.append(f"({inner})@{op}")
        expression.append("+".join(sorted(terms)))
    return expression[3]
