"""The messages of a graph on DGL: the same operations as ``Neighbourhood``, by DGL's message passing."""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from graphnas.errors import GraphnasError


def library() -> Any:
    """The module ``dgl``.

    Raises:
        GraphnasError: it is not installed.
    """
    try:
        return importlib.import_module("dgl")
    except ImportError:
        raise GraphnasError("DGL is not installed: pip install 'graphnas[dgl]'") from None


class DGLNeighbourhood:
    """See ``graphnas.ops.neighbourhood.Neighbourhood``; edges are in the order of ``edge_index``.

    Args:
        edge_index: ``[2, E]`` int64, senders and receivers (self-loops already as they should be).
        nodes: N.
    """

    def __init__(self, edge_index: Tensor, nodes: int) -> None:
        dgl = library()
        self._fn, self._edge_softmax = dgl.function, dgl.nn.functional.edge_softmax
        # Copies: DGL keeps what it is given, and the graph must not keep ``edge_index`` alive.
        self.graph = dgl.graph((edge_index[0].clone(), edge_index[1].clone()), num_nodes=nodes)

    @cached_property
    def counts(self) -> Tensor:
        """``[N, 1]`` float64, how many messages each node receives, at least 1."""
        return self.graph.in_degrees().clamp(min=1).double()[:, None]  # type: ignore[no-any-return]

    def _update(self, reduce: str, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Messages ``weights_ij x_j``, reduced by "sum", "mean" or "max"."""
        fn, graph = self._fn, self.graph
        with graph.local_scope():
            graph.srcdata["x"] = x
            message = fn.copy_u("x", "m")
            if weights is not None:
                graph.edata["w"] = weights
                message = fn.u_mul_e("x", "w", "m")
            graph.update_all(message, getattr(fn, reduce)("m", "out"))
            return graph.dstdata["out"]  # type: ignore[no-any-return]

    def _edges(self, function: str, a: Tensor, b: Tensor) -> Tensor:
        """A DGL function of sender (a) and receiver (b) for every edge."""
        with self.graph.local_scope():
            self.graph.srcdata["a"], self.graph.dstdata["b"] = a, b
            self.graph.apply_edges(getattr(self._fn, function)("a", "b", "out"))
            return self.graph.edata["out"]  # type: ignore[no-any-return]

    @cached_property
    def _gcn(self) -> Tensor:
        return self._normalised(self.graph.in_degrees())

    @cached_property
    def _symmetric(self) -> Tensor:
        return self._normalised(self.graph.out_degrees())

    def _normalised(self, degrees: Tensor) -> Tensor:
        scale = degrees.double().rsqrt()
        scale[scale.isinf()] = 0  # messages from or to a node of degree 0 do not count
        return self._edges("u_mul_v", scale, scale)[:, None]

    def sum(self, x: Tensor) -> Tensor:
        """Sum over the senders of each node."""
        return self._update("sum", x)

    def mean(self, x: Tensor) -> Tensor:
        """Mean over the senders of each node."""
        return self._update("mean", x)

    def gcn(self, x: Tensor) -> Tensor:
        """``sum_j x_j / sqrt(d_i d_j)`` with the numbers of messages received as degrees d."""
        return self._update("sum", x, self._gcn.to(x.dtype))

    def symmetric(self, x: Tensor) -> Tensor:
        """The same with the numbers of messages sent."""
        return self._update("sum", x, self._symmetric.to(x.dtype))

    def maximum(self, x: Tensor, gcn: bool = False) -> Tensor:
        """Largest message in each feature; with ``gcn`` they are ``x_j / sqrt(d_i d_j)``."""
        return self._update("max", x, self._gcn.to(x.dtype) if gcn else None)

    def weighted_sum(self, weights: Tensor, x: Tensor) -> Tensor:
        """``sum_j weights[ij, h] x[j, h]``, ``[N, H, C]``."""
        return self._update("sum", x, weights[:, :, None])

    def weighted_maximum(self, weights: Tensor, x: Tensor) -> Tensor:
        """``max_j weights[ij, h] x[j, h]``, ``[N, H, C]``."""
        return self._update("max", x, weights[:, :, None])

    def softmax(self, scores: Tensor) -> Tensor:
        """``scores [E, H]`` normalised over the messages that each node receives."""
        return self._edge_softmax(self.graph, scores)  # type: ignore[no-any-return]

    def at_receivers(self, x: Tensor) -> Tensor:
        """``x [N, H]`` of the receiver of every edge, ``[E, H]``."""
        with self.graph.local_scope():
            self.graph.dstdata["x"] = x
            self.graph.apply_edges(lambda edges: {"out": edges.dst["x"]})
            return self.graph.edata["out"]  # type: ignore[no-any-return]

    def at_senders(self, x: Tensor) -> Tensor:
        """``x [N, H]`` of the sender of every edge, ``[E, H]``."""
        with self.graph.local_scope():
            self.graph.srcdata["x"] = x
            self.graph.apply_edges(self._fn.copy_u("x", "out"))
            return self.graph.edata["out"]  # type: ignore[no-any-return]

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """``<a[i, h], b[j, h]>`` for every edge from j to i, ``[E, H]``."""
        return self._edges("u_dot_v", b, a)[..., 0]

    def tanh_score(self, a: Tensor, b: Tensor, vector: Tensor) -> Tensor:
        """``<vector[h], tanh(a[i, h] + b[j, h])>`` for every edge from j to i, ``[E, H]``."""
        return (torch.tanh(self._edges("u_add_v", b, a)) * vector).sum(-1)
