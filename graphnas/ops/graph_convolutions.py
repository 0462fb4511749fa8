"""PyG's graph layers, faster on the CPU: the same parameters and results, aggregation by sparse products.

Each class here is a PyG layer whose forward pass reads a prepared Neighbourhood, or a DGL graph with ``backend = "dgl"``.
Linear maps and aggregation are done in the cheaper order. PyG's own forward pass runs on other devices than the CPU, and
where a network is compiled, exported or transformed. (PyG looks a layer's source up by the name of its class, so names must
differ.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch_geometric import nn

from graphnas.ops import graph_attention
from graphnas.ops.aggregate import eager
from graphnas.ops.dropout import dropout
from graphnas.ops.neighbourhood import neighbourhood_of
from graphnas.ops.sparse_features import Features, SparseFeatures, linear


def plain(x: Features, backend: str = "pyg") -> bool:
    """Whether a layer must run PyG's own operations on this input."""
    if isinstance(x, SparseFeatures):
        return False
    if not eager():
        return True
    return backend == "pyg" and (x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64))


def _map_and(aggregate: Callable[[Tensor], Tensor], x: Features, weight: Tensor) -> Tensor:
    """``aggregate(x) weight^T``; the linear map comes first where it does not widen the features."""
    if isinstance(x, SparseFeatures) or weight.shape[0] <= weight.shape[1]:
        return aggregate(linear(x, weight))
    return functional.linear(aggregate(x), weight)


def _two_maps(aggregate: Callable[[Tensor], Tensor], x: Features, far: Tensor, near: Tensor) -> Tensor:
    """``aggregate(x) far^T + x near^T``."""
    out = len(far)
    if isinstance(x, SparseFeatures) or out <= far.shape[1]:
        both = linear(x, torch.cat([far, near]))
        return aggregate(both[:, :out].contiguous()) + both[:, out:]
    return functional.linear(torch.cat([aggregate(x), x], 1), torch.cat([far, near], 1))


def _biased(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias


class FastGCNConv(nn.GCNConv):  # type: ignore[misc]
    """Graph convolution (Kipf & Welling, 2017, equation 2)."""

    backend = "pyg"

    def forward(self, x: Features, edge_index: Tensor) -> Any:
        """``x [N, F]``, ``edge_index [2, E]``."""
        if plain(x, self.backend):
            return super().forward(x, edge_index)
        graph = neighbourhood_of(edge_index, len(x), "one", self.backend)
        return _biased(_map_and(graph.gcn, x, self.lin.weight), self.bias)


class FastSAGEConv(nn.SAGEConv):  # type: ignore[misc]
    """GraphSAGE with mean aggregation (Hamilton et al., 2017)."""

    backend = "pyg"

    def forward(self, x: Features, edge_index: Tensor) -> Any:
        """``x [N, F]``, ``edge_index [2, E]``."""
        if plain(x, self.backend):
            return super().forward(x, edge_index)
        graph = neighbourhood_of(edge_index, len(x), "keep", self.backend)
        return _biased(_two_maps(graph.mean, x, self.lin_l.weight, self.lin_r.weight), self.lin_l.bias)


class FastGraphConv(nn.GraphConv):  # type: ignore[misc]
    """k-GNN of order one (Morris et al., 2019)."""

    backend = "pyg"

    def forward(self, x: Features, edge_index: Tensor) -> Any:
        """``x [N, F]``, ``edge_index [2, E]``."""
        if plain(x, self.backend):
            return super().forward(x, edge_index)
        graph = neighbourhood_of(edge_index, len(x), "keep", self.backend)
        return _biased(_two_maps(graph.sum, x, self.lin_rel.weight, self.lin_root.weight), self.lin_rel.bias)


class FastGINConv(nn.GINConv):  # type: ignore[misc]
    """Graph isomorphism network (Xu et al., 2019) whose network is a linear map, or begins with one.

    That map and the sum over neighbours commute, so the narrower of both sides is summed.
    """

    backend = "pyg"

    def forward(self, x: Features, edge_index: Tensor) -> Any:
        """``x [N, F]``, ``edge_index [2, E]``."""
        if plain(x, self.backend):
            return super().forward(x, edge_index)
        graph = neighbourhood_of(edge_index, len(x), "keep", self.backend)

        def with_own(h: Tensor) -> Tensor:
            return graph.sum(h) + (1 + self.eps) * h  # type: ignore[no-any-return]

        network: Any = self.nn
        deep = isinstance(self.nn, torch.nn.Sequential)
        first = network[0] if deep else network
        made = _biased(_map_and(with_own, x, first.weight), first.bias)
        return network[1:](made) if deep else made


class FastARMAConv(nn.ARMAConv):  # type: ignore[misc]
    """Auto-regressive moving-average filter of one stack and one layer (Bianchi et al., 2021)."""

    backend = "pyg"

    def forward(self, x: Features, edge_index: Tensor) -> Any:
        """``x [N, F]``, ``edge_index [2, E]``."""
        if plain(x, self.backend):
            return super().forward(x, edge_index)
        graph = neighbourhood_of(edge_index, len(x), "keep", self.backend)
        out = _two_maps(graph.gcn, x, self.init_weight[0].t(), self.root_weight[0, 0].t())
        return self.act(_biased(out, self.bias[0, 0]))


class FastChebConv(nn.ChebConv):  # type: ignore[misc]
    """Chebyshev filters (Defferrard et al., 2016) with the largest eigenvalue taken as 2.

    With normalised adjacency A, the scaled Laplacian is -A. The sum of T_k(-A) x W_k is taken by Clenshaw's recurrence
    (``b_k = x W_k - 2 A b_{k+1} - b_{k+2}``), so that every product with A is as wide as the output, not the input.
    """

    backend = "pyg"

    def forward(self, x: Features, edge_index: Tensor) -> Any:
        """``x [N, F]``, ``edge_index [2, E]``."""
        if plain(x, self.backend):
            return super().forward(x, edge_index)
        graph = neighbourhood_of(edge_index, len(x), "drop", self.backend)
        weights = [lin.weight for lin in self.lins]
        terms = torch.split(linear(x, torch.cat(weights)), self.out_channels, 1)
        after: Tensor | None = None
        later: Tensor | None = None
        for k, term in reversed(list(enumerate(terms))):
            total = term
            if after is not None:
                total = total - (2 if k else 1) * graph.symmetric(after)
            if later is not None:
                total = total - later
            after, later = total.contiguous(), after
        assert after is not None
        return _biased(after, self.bias)


class FastAPPNP(nn.APPNP):  # type: ignore[misc]
    """Propagation by personalised PageRank (Gasteiger et al., 2019, equation 4)."""

    backend = "pyg"

    @property
    def hops(self) -> int:
        """How far from a node what it reads can be."""
        return int(self.K)

    def forward(self, x: Features, edge_index: Tensor) -> Any:
        """``x [N, F]``, ``edge_index [2, E]``."""
        if plain(x, self.backend):
            return super().forward(x, edge_index)
        graph = neighbourhood_of(edge_index, len(x), "one", self.backend)
        h = x
        for _ in range(self.K):
            h = torch.add(self.alpha * x, graph.gcn(h), alpha=1 - self.alpha)
        return h


class FastGATConv(nn.GATConv):  # type: ignore[misc]
    """Graph attention (Velickovic et al., 2018)."""

    backend = "pyg"

    def forward(self, x: Features, edge_index: Tensor) -> Any:
        """``x [N, F]``, ``edge_index [2, E]``."""
        if plain(x, self.backend):
            return super().forward(x, edge_index)
        graph = neighbourhood_of(edge_index, len(x), "one", self.backend)
        h = linear(x, self.lin.weight).view(-1, self.heads, self.out_channels)
        scores = graph.at_receivers((h * self.att_dst).sum(-1)) + graph.at_senders((h * self.att_src).sum(-1))
        weights = graph.softmax(functional.leaky_relu(scores, self.negative_slope))
        return _biased(graph.weighted_sum(weights, h).flatten(1), self.bias)


class FastAGNNConv(graph_attention.AGNNConv):
    """The layer of the AGNN and GraphNAS spaces; see ``graphnas.ops.graph_attention``."""

    backend = "pyg"

    def messages(self, x: Features, edge_index: Tensor) -> Any:
        """A prepared Neighbourhood."""
        if plain(x, self.backend):
            return super().messages(x, edge_index)  # type: ignore[arg-type]
        return neighbourhood_of(edge_index, len(x), "one", self.backend)

    def project(self, x: Features) -> Tensor:
        """``[N, F]`` to ``[N, H * out_channels]``."""
        return linear(x, self.lin.weight)

    def fixed(self, graph: Any, x: Features) -> Tensor:
        """Sums and means are linear: they can be taken of the input where that is narrower."""
        narrow = isinstance(x, Tensor) and self.in_channels < self.heads * self.out_channels
        if not narrow or self.aggregate == "max":
            return super().fixed(graph, x)  # type: ignore[arg-type]
        return self.project(self.pool(graph, x))  # type: ignore[arg-type]

    def drop(self, weights: Tensor) -> Tensor:
        """Dropout of coefficients."""
        return dropout(weights, self.dropout, self.training)
