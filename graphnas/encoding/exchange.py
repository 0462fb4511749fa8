"""The plain lists that all graph libraries take: edges with the place of each input, in node order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from graphnas.architecture import Architecture, Node
from graphnas.encoding.vocabulary import Kind
from graphnas.errors import GraphnasError


class EdgeList(NamedTuple):
    """One entry for each input slot, grouped by receiver: source, target, and place among the target's inputs."""

    source: list[int]
    target: list[int]
    place: list[int]


def edge_list(architecture: Architecture) -> EdgeList:
    """All edges of an architecture, parallel ones included."""
    edges = EdgeList([], [], [])
    for target, n in enumerate(architecture.nodes):
        for place, source in enumerate(n.inputs):
            edges.source.append(source)
            edges.target.append(target)
            edges.place.append(place)
    return edges


def assemble(kinds: Sequence[Kind], edges: EdgeList) -> Architecture:
    """The architecture of nodes and edges: the inverse of ``edge_list`` whatever the order of the edges.

    Raises:
        GraphnasError: an edge to a node that does not exist or that is not later, or no output.
    """
    slots: list[list[tuple[int, int]]] = [[] for _ in kinds]
    for source, target, place in zip(*edges, strict=True):
        if not 0 <= target < len(kinds):
            raise GraphnasError(f"an edge leads to node {target}, which does not exist (there are {len(kinds)} nodes)")
        slots[target].append((place, source))
    return Architecture(
        Node(op, tuple([source for _, source in sorted(mine)]), params)
        for (op, params), mine in zip(kinds, slots, strict=True)
    )
