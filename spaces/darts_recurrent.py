"""DARTS's recurrent cell: eight gated nodes, each with one activation on one earlier node (Liu, Simonyan & Yang, ICLR 2019).

State 0 comes from the input x and the state h of the step before; node i has the weights W_i, whatever it reads and does::

    [c, g] = [x, h] W_0          s_0 = h + sigmoid(c) (tanh(g) - h)
    [c, g] = s_j W_i             s_i = s_j + sigmoid(c) (f(g) - s_j)        h' = mean of s_1 to s_8
"""

from __future__ import annotations

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

NODES = 8
OPS = ("none", *ACTIVATIONS)
SEMANTICS = Semantics(zero_ops=frozenset({"none"}), merge_ops=frozenset({"sum", "mean"}))


@lru_cache(maxsize=1)
def space() -> Space:
    """One activation on one earlier state for each of 8 nodes: 4^8 * 8!, about 2.6e9 cells."""
    nodes = _start()
    states = [len(nodes) - 1]
    order: list[Choice] = []
    for target in range(1, NODES + 1):
        op = Choice(f"{target}.op", ACTIVATIONS, "op")
        order.append(op)
        source: object = states[0]
        if target > 1:
            pick = Choice(f"{target}.input", tuple(range(target)), "input")
            order.insert(-1, pick)
            source = pick.at(*states)
        nodes.append(Node(op, (source,)))
        states.append(len(nodes) - 1)
    return Space(
        "darts_recurrent",
        _end(nodes, states[1:]),
        semantics=SEMANTICS,
        order=order,
        network=partial(language_model, cell),
        size=SIZE,
        accepts=("text",),
        recipe=RECIPE,
        recover=from_edges,
        relaxed=_relaxed,
        description="recurrent cell of 8 nodes, each with 1 input and 1 of 4 activations (DARTS)",
    )


@lru_cache(maxsize=1)
def edges() -> Space:
    """One of five operations on each of the 36 pairs of states: what DARTS's supernet holds."""
    nodes = _start()
    states = [len(nodes) - 1]
    for target in range(1, NODES + 1):
        made = []
        for source in range(target):
            nodes.append(node(Choice(f"{source}->{target}", OPS, "recurrent"), (states[source],)))
            made.append(len(nodes) - 1)
        nodes.append(node("sum", made))
        states.append(len(nodes) - 1)
    return Space(
        "darts_recurrent_edges",
        _end(nodes, states[1:]),
        semantics=SEMANTICS,
        network=partial(language_model, cell),
        size=SIZE,
        accepts=("text",),
        recipe=RECIPE,
        relaxed=_held,
        description="recurrent cell, 5 operations on all 36 pairs of states (SNAS)",
    )


def _start() -> list[Node]:
    return [node(INPUT, name="x"), node(INPUT, name="h"), node("start", (0, 1))]


def _end(nodes: list[Node], states: Sequence[int]) -> list[Node]:
    return [*nodes, node("mean", states), node(OUTPUT, (len(nodes),))]


def _held() -> Relaxed:
    return Relaxed(edges(), _same, _same, inherit=partial(inherited, cell), size={"norm": True})


def _relaxed() -> Relaxed:
    return Relaxed(edges(), to_edges, from_edges, 1, inherit=partial(inherited, cell), size={"norm": True})


def _same(architecture: Architecture) -> Architecture:
    return architecture


# -- between the two spaces ---------------------------------------------------------------------


def steps_of(architecture: Architecture) -> list[tuple[str, int]]:
    """Activation and input of each node of a cell of either space, in any order of writing.

    Raises:
        GraphnasError: it is no cell of eight nodes with one operation each.
    """
    state: dict[int, int] = {}  # by the index of a node of the architecture
    made: list[tuple[str, int]] = []
    sums = {i for i, n in enumerate(architecture.nodes) if n.op == "sum"}
    summed = {j for i in sums for j in architecture.nodes[i].inputs}
    edge: dict[int, tuple[str, int]] = {}
    for i, n in enumerate(architecture.nodes):
        found: list[tuple[str, int]] = []
        if n.op == "start":
            state[i] = 0
        elif n.op in ACTIVATIONS and len(n.inputs) == 1 and n.inputs[0] in state:
            edge[i] = (n.op, state[n.inputs[0]])
            found = [] if i in summed else [edge[i]]
        elif i in sums:
            found = [edge[j] for j in n.inputs if j in edge]
            if len(found) != 1:
                raise GraphnasError(
                    f"node {len(made) + 1} of the recurrent cell has {len(found)} operations; in the space darts_recurrent "
                    "each has one (the space darts_recurrent_edges holds others)"
                )
        if found:
            made += found
            state[i] = len(made)
    if len(made) != NODES:
        raise GraphnasError(f"the architecture is no recurrent cell of {NODES} nodes: {architecture!r:.120}")
    return made


def of_steps(steps: Steps) -> Architecture:
    """The member of ``space`` with these activations and inputs.

    Raises:
        GraphnasError: not eight nodes, an input that is no earlier state, or an unknown activation.
    """
    ops = activations_of(steps, NODES, "darts_recurrent")
    decisions: list[int] = []
    for target, ((_, source), op) in enumerate(zip(steps, ops, strict=True), 1):
        if not 0 <= source < target:
            raise GraphnasError(f"node {target} reads state {source}, which is not an earlier one")
        decisions += ([source] if target > 1 else []) + [op]
    return space().decode(decisions)


def to_edges(architecture: Architecture) -> Architecture:
    """The same cell as a member of ``edges``."""
    at = {(source, target): op for target, (op, source) in enumerate(steps_of(architecture), 1)}
    pairs = [(source, target) for target in range(1, NODES + 1) for source in range(target)]
    return edges().decode([OPS.index(at.get(pair, "none")) for pair in pairs])


def from_edges(architecture: Architecture) -> Architecture:
    """The same cell as a member of ``space``.

    Raises:
        GraphnasError: a node that does not have exactly one operation.
    """
    return of_steps(steps_of(architecture))


# -- the cell -----------------------------------------------------------------------------------


def cell(architecture: Architecture, features: int, norm: bool) -> Architecture:
    """The cell as a network of its own, decided or with open operations; see ``spaces.recurrent_network.MakeCell``."""
    b = CellBuilder(features, norm)
    nodes = architecture.nodes
    into = {j: i for i, n in enumerate(nodes) if n.op == "sum" for j in n.inputs}
    number: dict[int, int] = {}  # of the node that an operation leads to, by the node's place
    for i, n in enumerate(nodes):
        if n.op not in (INPUT, OUTPUT, "start", "mean", "sum"):
            number.setdefault(into.get(i, i), len(number) + 1)
    value: dict[int, int] = {}
    for i, n in enumerate(nodes):
        if n.op == "start":
            value[i] = b.state(b.gated(b.h, b.first("start"), "tanh", "start_tanh"), "start_norm")
        elif n.op == "mean":
            return b.done([value[j] for j in n.inputs])
        elif n.op == "sum":
            terms = [value[j] for j in n.inputs if j in value]
            total = merged(b, terms) if terms else b.add("zero", [b.h])
            value[i] = b.state(total, f"node{number[i]}_norm")
        elif n.op not in (INPUT, OUTPUT, "none"):
            target = into.get(i, i)
            source = value[n.inputs[0]]
            both = b.linear(b.masked(source), f"node{number[target]}")
            made = b.gated(source, both, n if n.op == "open" else n.op, f"node{number[target]}_op{i}")
            value[i] = made if target != i else b.state(made, f"node{number[i]}_norm")
    raise AssertionError("a valid cell has a mean")
