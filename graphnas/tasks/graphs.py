"""Many graphs in flat arrays, and batches of them as one graph without edges between its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.tasks.graph_data import edges_of, features_of


class Union(NamedTuple):
    """A disjoint union of graphs.

    Attributes:
        x: node features ``[N, F]``, float32 (or integers that were not to be encoded).
        edge_index: ``[2, E]``, counted within the union.
        edge_attr: edge features ``[E, D]``, or None.
        graph: the place in the union of each node's graph, ``[N]``.
        rows: where the nodes stand in the flat arrays, ``[N]``.
    """

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor | None
    graph: Tensor
    rows: Tensor


class Graphs:
    """Graphs one after the other.

    Args:
        x: features of all nodes ``[sum N, F]``; integers where ``categories`` are given.
        edge_index: all edges ``[2, sum E]``, each counted within its graph.
        nodes, edges: how many each graph has, ``[G]``.
        edge_attr: features of all edges ``[sum E, D]``, or None.
        categories: number of values of each column of ``x``, which is then handed out as indicator columns
            (one-hot) ``[N, sum(categories)]``: a linear map of these is a sum of learned embeddings of the values.
            With none, ``x`` is handed out as it is.
        edge_categories: the same for ``edge_attr``.

    Raises:
        GraphnasError: no graph, a graph without nodes, an edge that leaves its graph, or a value without category.
    """

    def __init__(
        self,
        x: Tensor,
        edge_index: Tensor,
        nodes: Tensor,
        edges: Tensor,
        edge_attr: Tensor | None = None,
        *,
        categories: Sequence[int] | None = None,
        edge_categories: Sequence[int] | None = None,
    ) -> None:
        if len(nodes) == 0:
            raise GraphnasError("there are no graphs; a task needs at least one for each split")
        if int(nodes.min()) < 1:
            raise GraphnasError(f"graph {int(nodes.argmin())} has no nodes; leave it out")
        sizes = (len(x), edge_index.shape[1], edge_index.shape[1] if edge_attr is None else len(edge_attr))
        told = (int(nodes.sum()), int(edges.sum()), int(edges.sum()))
        if sizes != told or len(edges) != len(nodes):
            raise GraphnasError(
                f"the graphs count {told[0]} nodes and {told[1]} edges, but there are {sizes[0]} rows in x, {sizes[1]} "
                f"edges and {sizes[2]} rows for edges"
            )
        owner = torch.repeat_interleave(torch.arange(len(nodes)), edges)
        wrong = (edge_index < 0) | (edge_index >= nodes[owner])
        if bool(wrong.any()):
            graph = int(owner[wrong.any(0)][0])
            raise GraphnasError(f"graph {graph} has an edge to a node outside its {int(nodes[graph])} nodes")
        self.categories = _checked(x, categories, "x")
        self.edge_categories = None if edge_attr is None else _checked(edge_attr, edge_categories, "edge_attr")
        self.x = x.to(torch.int32) if self.categories else x
        self.edge_attr = edge_attr.to(torch.int32) if edge_attr is not None and self.edge_categories else edge_attr
        self.edge_index = edge_index
        self.nodes, self.edges = nodes, edges
        self._first_node = torch.cumsum(nodes, 0) - nodes
        self._first_edge = torch.cumsum(edges, 0) - edges

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def width(self) -> int:
        """Columns of the node features that a union has."""
        return sum(self.categories) if self.categories else int(self.x.shape[1])

    @property
    def owner(self) -> Tensor:
        """The graph of each node, ``[sum N]``."""
        return torch.repeat_interleave(torch.arange(len(self)), self.nodes)

    def union(self, graphs: Tensor) -> Union:
        """The graphs of these numbers ``[B]`` as one graph, in this order."""
        nodes, edges = self.nodes[graphs], self.edges[graphs]
        rows = _ranges(self._first_node[graphs], nodes)
        columns = _ranges(self._first_edge[graphs], edges)
        shift = torch.repeat_interleave(torch.cumsum(nodes, 0) - nodes, edges)
        edge_attr = None if self.edge_attr is None else _encoded(self.edge_attr[columns], self.edge_categories)
        return Union(
            _encoded(self.x[rows], self.categories),
            self.edge_index[:, columns] + shift,
            edge_attr,
            torch.repeat_interleave(torch.arange(len(graphs)), nodes),
            rows,
        )


def read_graphs(graphs: Sequence[Any], *, undirected: bool, edge_features: bool) -> Graphs:
    """A user's PyG ``Data`` objects, or anything with ``x`` and ``edge_index``, checked one by one.

    Args:
        graphs: with ``x[N, F]``, ``edge_index[2, E]`` and, for ``edge_features``, ``edge_attr[E, D]``.
        undirected: add the reverse of every edge and remove duplicates; not together with edge features.
        edge_features: keep them.

    Raises:
        GraphnasError: naming the graph that is not as it should be.
    """
    if undirected and edge_features:
        raise GraphnasError("edges with features are taken as they are: pass undirected=False and both directions")
    xs, edge_lists, attributes = [], [], []
    for number, data in enumerate(graphs):
        try:
            xs.append(features_of(data))
            edge_lists.append(edges_of(data, len(xs[-1]), undirected))
            if edge_features:
                attributes.append(_edge_features(data, edge_lists[-1].shape[1]))
        except GraphnasError as error:
            raise GraphnasError(f"graph {number}: {error}") from None
        for parts, name in ((xs, "x"), (attributes, "edge_attr")):
            if parts and parts[-1].shape[1] != parts[0].shape[1]:
                raise GraphnasError(
                    f"graph {number} has {parts[-1].shape[1]} columns in {name}, graph 0 has {parts[0].shape[1]}"
                )
    if not xs:
        raise GraphnasError("there are no graphs; a task needs at least one for each split")
    nodes, edges = torch.tensor([len(x) for x in xs]), torch.tensor([e.shape[1] for e in edge_lists])
    return Graphs(
        torch.cat(xs), torch.cat(edge_lists, dim=1), nodes, edges, torch.cat(attributes) if attributes else None
    )


def _edge_features(data: Any, edges: int) -> Tensor:
    value = getattr(data, "edge_attr", None)
    if value is None:
        raise GraphnasError("it has no edge_attr [E, D]; leave edge_features out")
    value = torch.as_tensor(value).detach().cpu().float()
    if value.ndim != 2 or len(value) != edges or not bool(torch.isfinite(value).all()):
        raise GraphnasError(f"edge_attr has shape {list(value.shape)}; it must be finite numbers [{edges}, D]")
    return value


def _ranges(starts: Tensor, counts: Tensor) -> Tensor:
    """The numbers start, ..., start + count - 1 of each pair, one range after the other."""
    skipped = starts - (torch.cumsum(counts, 0) - counts)
    return torch.arange(int(counts.sum())) + torch.repeat_interleave(skipped, counts)


def _checked(values: Tensor, categories: Sequence[int] | None, name: str) -> tuple[int, ...] | None:
    if categories is None:
        return None
    limits = torch.tensor(list(categories))
    if values.shape[1] != len(limits):
        raise GraphnasError(f"{name} has {values.shape[1]} columns, but {len(limits)} numbers of categories are given")
    wrong = (values < 0) | (values >= limits)
    if bool(wrong.any()):
        column = int(torch.nonzero(wrong.any(0))[0])
        value = int(values[wrong[:, column], column][0])
        raise GraphnasError(f"column {column} of {name} holds {value}; its categories are 0 to {limits[column] - 1}")
    return tuple(categories)


def _encoded(values: Tensor, categories: tuple[int, ...] | None) -> Tensor:
    if categories is None:
        return values
    limits = torch.tensor(categories)
    columns = values.long() + (torch.cumsum(limits, 0) - limits)
    return torch.zeros(len(values), int(limits.sum())).scatter_(1, columns, 1.0)
