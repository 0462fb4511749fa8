"""Architectures as networkx graphs: the form for exchange, drawing and graph algorithms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graphnas.architecture import Architecture, Params, freeze
from graphnas.encoding.exchange import EdgeList, assemble, edge_list
from graphnas.errors import GraphnasError

if TYPE_CHECKING:
    import networkx as nx


def to_networkx(architecture: Architecture) -> nx.MultiDiGraph[int]:
    """A directed multigraph whose vertices are the node indices.

    Node attributes: ``op`` (text) and ``params`` (a dictionary). Edge attribute: ``place``, which input of the target
    the edge is; parallel edges stay apart.
    """
    import networkx as nx

    graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
    for i, n in enumerate(architecture.nodes):
        graph.add_node(i, op=n.op, params=dict(n.params))
    for source, target, place in zip(*edge_list(architecture), strict=True):
        graph.add_edge(source, target, place=place)
    return graph


def from_networkx(graph: nx.DiGraph[Any] | nx.MultiDiGraph[Any]) -> Architecture:
    """The architecture of a directed acyclic (multi)graph: the inverse of ``to_networkx``.

    Vertices may be anything that can be hashed. Vertices 0 to n-1 whose edges all lead upwards keep their numbers; any
    other graph is sorted topologically, ties in the order of the graph. ``params`` may be missing; edges
    without ``place`` follow in the order of the graph.

    Raises:
        GraphnasError: undirected, a cycle, a vertex without ``op``, or no output.
    """
    import networkx as nx

    if not graph.is_directed():
        raise GraphnasError("an architecture is a directed graph; give a networkx DiGraph or MultiDiGraph")
    order: list[Any] = list(range(len(graph)))
    if set(graph) != set(order) or any(u >= v for u, v in graph.edges()):
        first = {v: i for i, v in enumerate(graph)}
        try:
            order = list(nx.lexicographical_topological_sort(graph, key=first.__getitem__))
        except nx.NetworkXUnfeasible:
            raise GraphnasError("the networkx graph has a cycle; an architecture has none") from None
    index = {v: i for i, v in enumerate(order)}
    kinds: list[tuple[str, Params]] = []
    for v in order:
        attributes: Mapping[str, Any] = graph.nodes[v]
        if not isinstance(attributes.get("op"), str):
            raise GraphnasError(
                f"vertex {v!r} of the networkx graph lacks the attribute 'op', the name of its operation"
            )
        kinds.append((attributes["op"], freeze(dict(attributes.get("params", {})))))
    edges = EdgeList([], [], [])
    for rank, (u, v, attributes) in enumerate(graph.edges(data=True)):
        place = attributes.get("place")
        edges.source.append(index[u])
        edges.target.append(index[v])
        edges.place.append(rank if place is None else int(place))
    return assemble(kinds, edges)
