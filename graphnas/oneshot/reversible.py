"""Training in memory that does not grow with depth: states are worked out backwards from the result.

A state in parts ``x_1 .. x_n`` goes through a chain of steps, each of which adds to one part a function of the others,
``y_k = x_k + g(y_1, .., y_{k-1}, x_{k+1}, .., x_n)``. The inverse is ``x_k = y_k - g(...)`` with the same arguments, so the
backward pass needs the last state only (Zhao et al., *Memory-Efficient Differentiable Transformer Architecture Search*, Findings
of ACL 2021, for n parts; Gomez et al., NeurIPS 2017, for two).

It is a way to run the network of any Space: where the network has nodes ``coupling`` (``graphnas.ops.splits``), they are
found here and run by a ``Chain``.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, NamedTuple

from graphnas.errors import GraphnasError
from graphnas.oneshot.reversible_chain import Chain, Step

if TYPE_CHECKING:
    from torch.fx import Graph, GraphModule
    from torch.fx import Node as Value


class Link(NamedTuple):
    """One coupling in a graph.

    Attributes:
        value: the sum.
        part: the place of the part that it adds to.
        added: what it adds.
        inner: the values between the state and the sum, in order.
        reads: the parts of the state that these read, by place.
        sides: what else they read.
    """

    value: Value
    part: int
    added: Value
    inner: list[Value]
    reads: dict[int, Value]
    sides: list[Value]


class Found(NamedTuple):
    """A chain as it lies in a graph: its parts before and after it, and its links in order."""

    name: str
    first: list[Value]
    last: list[Value]
    links: list[Link]


def make_reversible(network: GraphModule) -> int:
    """Change how a compiled network runs its chains of couplings; its modules and their names stay.

    Returns:
        how many chains there are.

    Raises:
        GraphnasError: couplings that are no reversible chain: a step that reads the part it adds to, a part as it was
            before a later step, or values that are read elsewhere too.
    """
    names = dict.fromkeys(n.meta["coupling"][0] for n in network.graph.nodes if "coupling" in n.meta)
    for name in names:
        _replace(network, find_chain(network.graph, name))
    if names:
        network.graph.lint()
        network.recompile()
    return len(names)


def find_chain(graph: Graph, name: str) -> Found:
    """The chain of this name in the graph of a compiled network.

    Raises:
        GraphnasError: see ``make_reversible``.
    """
    sums = [n for n in graph.nodes if n.meta.get("coupling", ("",))[0] == name]
    first: dict[int, Value] = {}
    for n in sums:
        first.setdefault(n.meta["coupling"][1], n.args[0])
    order = sorted(first)
    place = {split: i for i, split in enumerate(order)}
    begin = [first[split] for split in order]
    _expect(len(set(begin)) == len(begin), name, "two of its parts begin as one value")
    states = {value: i for i, value in enumerate(begin)} | {n: place[n.meta["coupling"][1]] for n in sums}
    behind = _behind(graph, states)
    now, links = list(begin), []
    taken: dict[Value, int] = {}
    for number, n in enumerate(sums):
        k, (x, added) = states[n], n.args
        _expect(x is now[k], name, f"step {number} adds to another value than part {order[k]} of the state")
        inner, reads, sides = _between(added, states, behind)
        for value in reads:
            _expect(states[value] != k, name, f"step {number} reads part {order[k]}, to which it adds")
            _expect(value is now[states[value]], name, f"step {number} reads a part as it was before another step")
        for value in inner:
            _expect(value not in taken, name, f"steps {taken.get(value)} and {number} share the value {value.name}")
            taken[value] = number
        links.append(Link(n, k, added, inner, {states[v]: v for v in reads}, sides))
        now[k] = n
    inside = {*taken, *sums}
    for value in inside - set(now):
        others = [user.name for user in value.users if user not in inside]
        _expect(not others, name, f"{', '.join(others)} reads {value.name}, which lies within the chain")
    return Found(name, begin, now, links)


def _expect(true: bool, name: str, problem: str) -> None:
    if not true:
        raise GraphnasError(f"chain {name!r} is not reversible: {problem}")


def _behind(graph: Graph, states: dict[Value, int]) -> set[Value]:
    """What depends on the state, the state included."""
    found: set[Value] = set(states)
    for n in graph.nodes:
        if any(i in found for i in n.all_input_nodes):
            found.add(n)
    return found


def _between(
    added: Value, states: dict[Value, int], behind: set[Value]
) -> tuple[list[Value], list[Value], list[Value]]:
    """The values between the state and what is added, the parts of the state that they read, and what else they read."""
    inner: dict[Value, None] = {}
    reads: dict[Value, None] = {}
    sides: dict[Value, None] = {}

    def visit(value: Value) -> None:
        if value in states:
            reads[value] = None
        elif value not in behind:
            sides[value] = None
        elif value not in inner:
            for earlier in value.all_input_nodes:
                visit(earlier)
            inner[value] = None

    visit(added)
    return list(inner), list(reads), list(sides)


def _replace(network: GraphModule, found: Found) -> None:
    """One call of a Chain in the place of the nodes of a chain."""
    from torch import fx

    sides: dict[Value, int] = {}
    steps = []
    for link in found.links:
        graph = fx.Graph()
        copies = {link.reads[i]: graph.placeholder(f"part{i}") for i in sorted(link.reads)}
        for value in link.sides:
            copies[value] = graph.placeholder(f"side{sides.setdefault(value, len(sides))}")
        for value in link.inner:
            copies[value] = graph.node_copy(value, copies.__getitem__)
        graph.output(copies[link.added])
        step = fx.GraphModule(network, graph, class_name="Step")  # has the network's own modules, no copies
        steps.append(Step(link.part, tuple(sorted(link.reads)), tuple(sides[v] for v in link.sides), step))
    name = f"reversible_{found.name}"
    network.add_module(name, Chain(len(found.first), steps))
    with network.graph.inserting_after(found.links[-1].value):
        call = network.graph.call_module(name, (*found.first, *sides))
    inside = {v for link in found.links for v in (link.value, *link.inner)}
    after = call
    for i, value in enumerate(found.last):
        with network.graph.inserting_after(after):
            after = network.graph.call_function(operator.getitem, (call, i))
        value.replace_all_uses_with(after, delete_user_cb=lambda user: user not in inside)
    for value in reversed(list(network.graph.nodes)):
        if value in inside:
            network.graph.erase_node(value)
