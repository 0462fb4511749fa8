"""DARTS cells in the form in which papers publish them: ``Genotype(normal=[('sep_conv_3x3', 1), ...], ...)``."""

from __future__ import annotations

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from spaces import darts, darts_s1
from spaces.darts import CELLS, NODES, Edge
from spaces.genotype_text import fields_of

FORM = "Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], reduce=..., reduce_concat=...)"
S1 = "darts_s1"

DARTS_V1 = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], reduce_concat=[2, 3, 4, 5])"
)
"""Found by first-order DARTS (Liu, Simonyan & Yang, ICLR 2019)."""

DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
"""Found by second-order DARTS: 3.3 million parameters with 36 channels and 20 cells."""


def to_genotype(architecture: Architecture, family: str = "darts") -> str:
    """The text of an architecture with two operations for each sum, as the released code prints it.

    ``family`` names the space: one of ``spaces.darts.FAMILIES``, or "darts_s1".

    Raises:
        GraphnasError: a sum with another number of operations, which a genotype cannot express.
    """
    made = darts_s1.operations(architecture) if family == S1 else darts.operations(architecture, family)
    parts = []
    for cell in CELLS:
        pairs = []
        for target in range(2, 2 + NODES):
            here = [(op, source) for c, source, t, op in made if (c, t) == (cell, target)]
            if len(here) != 2:
                raise GraphnasError(
                    f"sum {target} of the {cell} cell has {len(here)} operations; a genotype has two for each"
                )
            pairs += here
        parts.append(f"{cell}={pairs!r}, {cell}_concat={list(range(2, 2 + NODES))}")
    return f"Genotype({', '.join(parts)})"


def from_genotype(text: str, family: str = "darts") -> Architecture:
    """The architecture of the space ``family`` that a genotype describes. The text is read as data, never run.

    Raises:
        GraphnasError: another form, another number of nodes, an unknown operation, or a sum that has both operations on one
            input.
    """
    fields = fields_of(text, [name for cell in CELLS for name in (cell, f"{cell}_concat")], FORM)
    made: list[Edge] = []
    for cell in CELLS:
        pairs, joined = fields[cell], fields[f"{cell}_concat"]
        if joined != list(range(2, 2 + NODES)):
            raise GraphnasError(
                f"the {cell} cell joins the nodes {joined}; cells of the space {family} join 2 to {1 + NODES}"
            )
        if len(pairs) != 2 * NODES:
            raise GraphnasError(
                f"the {cell} cell has {len(pairs)} operations; cells of the space {family} have {2 * NODES}"
            )
        for i, pair in enumerate(pairs):
            target = 2 + i // 2
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and type(pair[1]) is int):
                raise GraphnasError(f"{pair!r:.80} in the genotype is no pair of an operation and a node")
            if not 0 <= pair[1] < target:
                raise GraphnasError(
                    f"node {target} of the {cell} cell reads node {pair[1]}, which is not an earlier one"
                )
            made.append((cell, pair[1], target, pair[0]))
    return darts_s1.of_operations(made) if family == S1 else darts.of_operations(made, family)
