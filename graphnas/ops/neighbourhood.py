"""Who sends messages to whom in a graph, and what graph layers do with that, on compressed rows (CSR).

A graph is prepared once: its ``Neighbourhood`` stays as long as the tensor ``edge_index`` that it was made from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from graphnas.errors import GraphnasError
from graphnas.ops.aggregate import entry_dot, gather, product, weighted_product
from graphnas.ops.edge_functions import maximum, softmax, tanh_score
from graphnas.ops.sparse_matrix import Pattern, SparseMatrix

LOOPS = ("keep", "drop", "one")
"""What happens to self-loops: they stay, they go, or every node gets exactly one."""


class Neighbourhood:
    """The messages of one graph: an entry (i, j) for every edge from node j to node i.

    Features of nodes are ``[N, F]``, or ``[N, H, C]`` with H heads; numbers of edges are ``[E, H]``, in an order of its own.
    Nodes that nobody sends to receive zeros.

    Args:
        edge_index: ``[2, E]`` int64, senders and receivers (self-loops already as they should be).
        nodes: N.
    """

    def __init__(self, edge_index: Tensor, nodes: int) -> None:
        self.pattern = Pattern.of(edge_index[1], edge_index[0], (nodes, nodes))

    @cached_property
    def counts(self) -> Tensor:
        """``[N, 1]`` float64, how many messages each node receives, at least 1."""
        return self.pattern.counts.clamp(min=1).double()[:, None]

    @cached_property
    def _ones(self) -> SparseMatrix:
        return SparseMatrix(self.pattern, torch.ones(len(self.pattern)))

    @cached_property
    def _shares(self) -> SparseMatrix:
        return SparseMatrix(self.pattern, 1 / self.counts[self.pattern.rows.long(), 0])

    @cached_property
    def _gcn(self) -> SparseMatrix:
        return self._normalised(self.pattern.counts)

    @cached_property
    def _symmetric(self) -> SparseMatrix:
        return self._normalised(self.pattern.transposed.counts)

    def _normalised(self, degrees: Tensor) -> SparseMatrix:
        scale = degrees.double().rsqrt()
        scale[scale.isinf()] = 0  # messages from or to a node of degree 0 do not count
        return SparseMatrix(self.pattern, scale[self.pattern.rows.long()] * scale[self.pattern.columns.long()])

    def sum(self, x: Tensor) -> Tensor:
        """Sum over the senders of each node."""
        return product(self._ones, x)

    def mean(self, x: Tensor) -> Tensor:
        """Mean over the senders of each node."""
        return product(self._shares, x)

    def gcn(self, x: Tensor) -> Tensor:
        """``sum_j x_j / sqrt(d_i d_j)`` with the numbers of messages received as degrees d (Kipf & Welling, 2017)."""
        return product(self._gcn, x)

    def symmetric(self, x: Tensor) -> Tensor:
        """The same with the numbers of messages sent as degrees, as in PyG's Laplacian; it differs on directed graphs."""
        return product(self._symmetric, x)

    def maximum(self, x: Tensor, gcn: bool = False) -> Tensor:
        """Largest message in each feature; with ``gcn`` they are ``x_j / sqrt(d_i d_j)``."""
        weights = (self._gcn if gcn else self._ones).values.to(x.dtype)
        return maximum(self.pattern, weights[None], x[None])[0]

    def weighted_sum(self, weights: Tensor, x: Tensor) -> Tensor:
        """``sum_j weights[ij, h] x[j, h]``, ``[N, H, C]``."""
        return weighted_product(self.pattern, weights.t(), x.transpose(0, 1)).transpose(0, 1)

    def weighted_maximum(self, weights: Tensor, x: Tensor) -> Tensor:
        """``max_j weights[ij, h] x[j, h]``, ``[N, H, C]``."""
        return maximum(self.pattern, weights.t(), x.transpose(0, 1)).transpose(0, 1)

    def softmax(self, scores: Tensor) -> Tensor:
        """``scores [E, H]`` normalised over the messages that each node receives."""
        return softmax(self.pattern, scores)

    def at_receivers(self, x: Tensor) -> Tensor:
        """``x [N, H]`` of the receiver of every edge, ``[E, H]``."""
        return gather(self.pattern.by_row, x)

    def at_senders(self, x: Tensor) -> Tensor:
        """``x [N, H]`` of the sender of every edge, ``[E, H]``."""
        return gather(self.pattern.by_column, x)

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """``<a[i, h], b[j, h]>`` for every edge from j to i, ``[E, H]``."""
        return entry_dot(self.pattern, a.transpose(0, 1), b.transpose(0, 1)).t()

    def tanh_score(self, a: Tensor, b: Tensor, vector: Tensor) -> Tensor:
        """``<vector[h], tanh(a[i, h] + b[j, h])>`` for every edge from j to i, ``[E, H]``."""
        return tanh_score(self.pattern, a, b, vector)


_kept: Any = WeakTensorKeyDictionary()


def remembered(key: Tensor, name: Any, make: Callable[[], Any]) -> Any:
    """``make()``, once for each name as long as the tensor ``key`` lives and is not written to."""
    if key.is_inference():  # such a tensor does not count its changes
        return make()
    version, kept = _kept.get(key, (None, {}))
    if version != key._version:
        version, kept = key._version, {}
        _kept[key] = version, kept
    if name not in kept:
        kept[name] = make()
    return kept[name]


def with_loops(edge_index: Tensor, nodes: int, loops: str) -> Tensor:
    """The edges ``[2, E]`` with self-loops as one of ``LOOPS`` says."""
    if loops == "keep":
        return edge_index
    edges = edge_index[:, edge_index[0] != edge_index[1]]
    if loops == "drop":
        return edges
    own = torch.arange(nodes, device=edges.device)
    return torch.cat([edges, torch.stack([own, own])], 1)


def neighbourhood_of(edge_index: Tensor, nodes: int, loops: str, backend: str = "pyg") -> Any:
    """The Neighbourhood of a graph; prepared at the first call.

    Args:
        edge_index: ``[2, E]`` integers, senders and receivers.
        nodes: N.
        loops: one of ``LOOPS``.
        backend: "pyg", or "dgl" for the same on a DGL graph.

    Raises:
        GraphnasError: an edge to a node that does not exist, or DGL is not installed.
    """

    def make() -> Any:
        if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < nodes:
            wrong = int(edge_index.min()) if int(edge_index.min()) < 0 else int(edge_index.max())
            raise GraphnasError(f"edge_index names node {wrong}; the {nodes} nodes of the graph are 0 to {nodes - 1}")
        edges = with_loops(edge_index.long(), nodes, loops)
        if backend == "dgl":
            from graphnas.ops.dgl_neighbourhood import DGLNeighbourhood

            return DGLNeighbourhood(edges, nodes)
        return Neighbourhood(edges, nodes)

    return remembered(edge_index, (nodes, loops, backend), make)
