"""Recurrent cells in the form in which papers publish them: ``Genotype(recurrent=[('relu', 0), ...], concat=range(1, 9))``.

Each node has an activation and the state that it reads; state 0 is what the cell makes of input and state first. The result is the mean
of the states in ``concat``.
"""

from __future__ import annotations

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from spaces import darts_recurrent, enas_recurrent
from spaces.genotype_text import fields_of

FORM = "Genotype(recurrent=[('relu', 0), ...], concat=range(1, 9))"
FAMILIES = ("darts_recurrent", "enas_recurrent")

DARTS_V1 = (
    "Genotype(recurrent=[('relu', 0), ('relu', 1), ('tanh', 2), ('relu', 3), ('relu', 4), ('identity', 1), ('relu', 5), "
    "('relu', 1)], concat=range(1, 9))"
)
"""Found by first-order DARTS (Liu, Simonyan & Yang, ICLR 2019): 23 million parameters with 850 features on Penn Treebank."""

DARTS_V2 = (
    "Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), ('sigmoid', 5), "
    "('tanh', 3), ('relu', 5)], concat=range(1, 9))"
)
"""Found by second-order DARTS."""

ENAS = (
    "Genotype(recurrent=[('tanh', 0), ('tanh', 1), ('relu', 1), ('tanh', 3), ('tanh', 3), ('relu', 3), ('relu', 4), "
    "('relu', 7), ('relu', 8), ('relu', 8), ('relu', 8)], concat=[2, 5, 6, 9, 10, 11])"
)
"""Found by ENAS (Pham et al., ICML 2018), as DARTS's authors write it down; its first node, here state 0, has tanh."""


def to_genotype(architecture: Architecture, family: str = "darts_recurrent") -> str:
    """The text of a cell of the space ``family``, one of ``FAMILIES``.

    Raises:
        GraphnasError: unknown family, another architecture, or a cell of ENAS whose first node has another activation
            than tanh, which a genotype cannot express.
    """
    _check(family)
    if family == "darts_recurrent":
        steps = darts_recurrent.steps_of(architecture)
        return f"Genotype(recurrent={steps!r}, concat=range(1, {darts_recurrent.NODES + 1}))"
    first, *others = steps = enas_recurrent.steps_of(architecture)
    if first[0] != "tanh":
        raise GraphnasError(f"the first node of a genotype has tanh, but that of this cell has {first[0]}")
    ends = [i - 1 for i in enas_recurrent.loose_ends(steps)]
    return f"Genotype(recurrent={[(op, source - 1) for op, source in others]!r}, concat={ends!r})"


def from_genotype(text: str, family: str = "darts_recurrent") -> Architecture:
    """The architecture of the space ``family`` that a genotype describes. The text is read as data, never run.

    Raises:
        GraphnasError: another form, another number of nodes, an unknown activation, or a mean of other states than the cells
            of the space have.
    """
    _check(family)
    fields = fields_of(text, ("recurrent", "concat"), FORM)
    steps: list[tuple[str, int]] = []
    for pair in fields["recurrent"]:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and type(pair[1]) is int):
            raise GraphnasError(f"{pair!r:.80} in the genotype is no pair of an activation and a state")
        steps.append(pair)
    if family == "darts_recurrent":
        made, ends = darts_recurrent.of_steps(steps), list(range(1, darts_recurrent.NODES + 1))
    else:
        steps = [("tanh", 0), *((op, source + 1) for op, source in steps)]
        made, ends = enas_recurrent.of_steps(steps), [i - 1 for i in enas_recurrent.loose_ends(steps)]
    if sorted(fields["concat"], key=str) != sorted(ends, key=str):
        raise GraphnasError(f"the cell averages the states {fields['concat']}; in the space {family} it is {ends}")
    return made


def _check(family: str) -> None:
    if family not in FAMILIES:
        raise unknown("space of recurrent cells", family, FAMILIES)
