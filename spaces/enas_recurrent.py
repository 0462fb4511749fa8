"""ENAS's recurrent cell, in which NAO searches too: twelve nodes, each with one activation on one earlier node.

Every pair of nodes has weights of its own (Pham, Guan, Zoph, Le & Dean, ICML 2018, section 2.1; Luo et al., NeurIPS 2018)::

    [c, g] = [x, h] W_1          s_1 = h + sigmoid(c) (f_1(g) - h)
    [c, g] = s_j W_(i, j)        s_i = s_j + sigmoid(c) (f_i(g) - s_j)        h' = mean of the nodes that no other node reads
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node, node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Relaxed, Space
from spaces.recurrent_network import (
    ACTIVATIONS,
    RECIPE,
    SIZE,
    CellBuilder,
    Steps,
    activations_of,
    inherited,
    language_model,
    merged,
)

NODES = 12
SEMANTICS = Semantics(merge_ops=frozenset({"mean"}), loose_ops=frozenset({"mean"}))


@lru_cache(maxsize=1)
def space() -> Space:
    """4^12 * 11!, about 6.7e14 cells. The template's mean lists all nodes; the canonical form keeps those that count."""
    nodes = [node(INPUT, name="x"), node(INPUT, name="h")]
    states: list[int] = []
    order: list[Choice] = []
    for target in range(1, NODES + 1):
        op = Choice(f"{target}.op", ACTIVATIONS, "op")
        if target == 1:
            sources: tuple[object, ...] = (0, 1)
        elif target == 2:
            sources = (states[0],)
        else:
            pick = Choice(f"{target}.input", tuple(range(1, target)), "input")
            order.append(pick)
            sources = (pick.at(*states),)
        order.append(op)
        nodes.append(Node(op, sources))
        states.append(len(nodes) - 1)
    nodes += [node("mean", states), node(OUTPUT, (len(nodes),))]
    return Space(
        "enas_recurrent",
        nodes,
        semantics=SEMANTICS,
        order=order,
        network=partial(language_model, cell),
        size=SIZE,
        accepts=("text",),
        recipe=RECIPE,
        recover=_recover,
        relaxed=_held,
        count=4**NODES * math.factorial(NODES - 1),
        description="recurrent cell of 12 nodes, each with 1 input and 1 of 4 activations (ENAS, NAO)",
    )


def _held() -> Relaxed:
    return Relaxed(space(), _same, _same, inherit=partial(inherited, cell), size={"norm": True})


def _same(architecture: Architecture) -> Architecture:
    return architecture


def steps_of(architecture: Architecture) -> list[tuple[str, int]]:
    """Activation and input of each node, in any order of writing.

    Raises:
        GraphnasError: it is no cell of twelve nodes.
    """
    state: dict[int, int] = {}
    made: list[tuple[str, int]] = []
    for i, n in enumerate(architecture.nodes):
        if n.op in ACTIVATIONS and (len(n.inputs) == 2 if not made else n.inputs[0] in state):
            made.append((n.op, state[n.inputs[0]] if made else 0))
            state[i] = len(made)
    if len(made) != NODES:
        raise GraphnasError(f"the architecture is no recurrent cell of {NODES} nodes: {architecture!r:.120}")
    return made


def of_steps(steps: Steps) -> Architecture:
    """The member of ``space`` with these activations and inputs (from 1); the first node reads 0, which stands for x and h.

    Raises:
        GraphnasError: not twelve nodes, an input that is no earlier node, or an unknown activation.
    """
    ops = activations_of(steps, NODES, "enas_recurrent")
    decisions: list[int] = []
    for target, ((_, source), op) in enumerate(zip(steps, ops, strict=True), 1):
        if not (1 <= source < target or (source == 0 and target == 1)):
            raise GraphnasError(f"node {target} reads node {source}, which is not an earlier one")
        decisions += ([source - 1] if target > 2 else []) + [op]
    return space().decode(decisions)


def loose_ends(steps: Steps) -> list[int]:
    """The nodes, from 1, that no other node reads."""
    read = {source for _, source in steps}
    return [i for i in range(1, len(steps) + 1) if i not in read]


def _recover(architecture: Architecture) -> Architecture:
    """The member that is written in another order, or whose mean lists the loose ends only."""
    found = of_steps(steps_of(architecture))
    if space().key(found) != space().key(architecture):
        raise GraphnasError(f"the architecture is not a member of space 'enas_recurrent': {architecture!r:.120}")
    return found


# -- the cell -----------------------------------------------------------------------------------


def cell(architecture: Architecture, features: int, norm: bool) -> Architecture:
    """The cell as a network of its own; see ``spaces.recurrent_network.MakeCell``.

    While inputs are open, node i is the sum over its inputs j of w(i, j) times the gated operation on j, and node j counts in the mean by
    the product of 1 - w(i, j) over all i: with one-hot weights, 1 for loose ends and 0 for others.
    """
    b = CellBuilder(features, norm)
    value: dict[int, int] = {}  # by the index of a node of the architecture
    number: dict[int, int] = {}
    weight: dict[int, list[int | None]] = {}  # of a state as an input of each other node; None: 1
    for i, n in enumerate(architecture.nodes):
        if n.op in (INPUT, OUTPUT):
            continue
        if n.op == "mean":
            return _averaged(b, n.inputs, value, weight)
        place = f"node{len(number) + 1}"
        number[i] = len(number) + 1
        operation = n if n.op == "open" else n.op
        if not value:
            made = b.gated(b.h, b.first(place), operation, f"{place}_op")
        else:
            terms = []
            for source, share in _inputs(b, n, place):
                both = b.linear(b.masked(value[source]), f"{place}_from{number[source]}")
                term = b.gated(value[source], both, operation, f"{place}_op{number[source]}")
                terms.append(term if share is None else b.add("scale", [term, share]))
                weight.setdefault(source, []).append(share)
            made = merged(b, terms)
        value[i] = b.state(made, f"{place}_norm")
    raise AssertionError("a valid cell has a mean")


def _inputs(b: CellBuilder, n: Node, place: str) -> list[tuple[int, int | None]]:
    """The nodes that a node reads, each with its weight where that is open."""
    slot = n.get("slots", (0,))[0] if n.op == "open" else 0
    if isinstance(slot, int):
        return [(n.inputs[slot], None)]
    row, positions = slot
    return [
        (n.inputs[p], b.add("share", options=(option,), rows=(row,), name=f"{place}_reads{option + 1}"))
        for option, p in enumerate(positions)
    ]


def _averaged(
    b: CellBuilder, states: Sequence[int], value: dict[int, int], weight: dict[int, list[int | None]]
) -> Architecture:
    """The cell whose result is the mean of its loose ends."""
    loose: list[tuple[int, int | None]] = []
    for i in states:
        shares = weight.get(i, [])
        if None in shares:
            continue
        left: int | None = None
        for share in shares:
            assert share is not None
            rest = b.add("complement", [share])
            left = rest if left is None else b.add("scale", [left, rest])
        loose.append((value[i], left))
    counted = [(v, w) for v, w in loose if w is not None]
    if not counted:
        return b.done([v for v, _ in loose])
    (last,) = (v for v, w in loose if w is None)
    values, weights = [v for v, _ in counted] + [last], [w for _, w in counted]
    return b.finish(b.add("loose_mean", [*values, *weights]))
