"""The layer of the AGNN and GraphNAS spaces in plain PyTorch and PyG: exported networks carry its text."""

from __future__ import annotations

import torch
import torch_geometric.utils
from torch import Tensor


class AGNNConv(torch.nn.Module):
    """One layer: project, weigh the messages, aggregate, combine, activate.

    With ``z = W h`` split into heads of ``out_channels`` features, and N(i) the senders of node i with i itself (once),
    node i gets ``activation(combine(aggregate_{j in N(i)} e_ij z_j) + b)``. The coefficients e_ij of a head are

    - const: 1
    - gcn: 1 / sqrt(d_i d_j), with degrees d_i = |N(i)|
    - gat: leakyrelu(l.z_i + r.z_j)
    - sym-gat: leakyrelu(l.z_i + r.z_j) + leakyrelu(l.z_j + r.z_i)
    - cos: <l * z_i, r * z_j>
    - linear: tanh(r.z_j)
    - gene-linear: v.tanh(l * z_i + r * z_j)
    - self: 1 for i itself, no message from any other node (which is no choice of these spaces; see ``spaces.gnn``)

    with learned vectors l, r, v for each head and ``*`` elementwise. All but const, gcn and self are normalised by a softmax
    over N(i). Aggregates are sum, mean and max, feature by feature, and mlp: the sum through a perceptron with one hidden
    layer. Combine mlp is the same perceptron after any aggregate. It is shared by all heads.

    Sources: the choices are those of Zhou, Song, Huang & Hu, Auto-GNN, 2019 (arXiv 1909.03184), and of Gao et al.,
    GraphNAS, IJCAI 2020; what the coefficients are and which are normalised follows the code that Gao et al. released.

    Args:
        in_channels: features of a node.
        out_channels: features of a head.
        heads: H; their outputs are concatenated, or averaged if not ``concat``.
        attention, aggregate, combine: as above.
        activation: name of a class in ``torch.nn``; none by default.
        concat: whether heads are concatenated.
        dropout: probability to drop a coefficient that a softmax has normalised, in training.
        hidden: width of the perceptron's hidden layer.
    """

    left: Tensor
    right: Tensor
    vector: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        attention: str = "gat",
        aggregate: str = "sum",
        combine: str = "identity",
        activation: str = "Identity",
        concat: bool = True,
        dropout: float = 0.0,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.heads = in_channels, out_channels, heads
        self.attention, self.aggregate, self.combine = attention, aggregate, combine
        self.concat, self.dropout = concat, dropout
        self.lin = torch.nn.Linear(in_channels, heads * out_channels, bias=False)
        vectors = {"linear": ("right",), "gene-linear": ("left", "right", "vector"), "const": (), "gcn": (), "self": ()}
        for name in vectors.get(attention, ("left", "right")):
            self.register_parameter(name, torch.nn.Parameter(torch.empty(heads, out_channels)))
        self.mlp = None
        if aggregate == "mlp" or combine == "mlp":
            first, last = torch.nn.Linear(out_channels, hidden), torch.nn.Linear(hidden, out_channels)
            self.mlp = torch.nn.Sequential(first, torch.nn.ReLU(), last)
        self.bias = torch.nn.Parameter(torch.empty(heads * out_channels if concat else out_channels))
        self.activation = getattr(torch.nn, activation)()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot's uniform weights, zero biases."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                torch.nn.init.xavier_uniform_(parameter)
            else:
                torch.nn.init.zeros_(parameter)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """``x [N, in_channels]``, ``edge_index [2, E]`` give ``[N, H * out_channels]``, or ``[N, out_channels]``."""
        if self.attention == "self":
            h = self.project(x)
        else:
            graph = self.messages(x, edge_index)
            h = self.fixed(graph, x) if self.attention in ("const", "gcn") else self.attended(graph, x)
        h = h.view(-1, self.heads, self.out_channels)
        if self.mlp is not None:
            h = self.mlp(h)
        h = h.flatten(1) if self.concat else h.mean(1)
        return self.activation(h + self.bias)  # type: ignore[no-any-return]

    def messages(self, x: Tensor, edge_index: Tensor) -> AGNNConv.Messages:
        """The graph, as the functions below read it."""
        return AGNNConv.Messages(edge_index, len(x))

    def project(self, x: Tensor) -> Tensor:
        """``z``, ``[N, H * out_channels]``."""
        return self.lin(x)  # type: ignore[no-any-return]

    def fixed(self, graph: AGNNConv.Messages, x: Tensor) -> Tensor:
        """Aggregation with the coefficients const and gcn."""
        return self.pool(graph, self.project(x))

    def pool(self, graph: AGNNConv.Messages, h: Tensor) -> Tensor:
        """Aggregation of any features ``[N, F]`` with the coefficients const and gcn."""
        gcn = self.attention == "gcn"
        if self.aggregate == "max":
            return graph.maximum(h, gcn)
        if self.aggregate == "mean":
            return graph.gcn(h) / graph.counts.to(h.dtype) if gcn else graph.mean(h)
        return graph.gcn(h) if gcn else graph.sum(h)

    def attended(self, graph: AGNNConv.Messages, x: Tensor) -> Tensor:
        """Aggregation with coefficients that depend on the features."""
        h = self.project(x).view(-1, self.heads, self.out_channels)
        weights = self.drop(graph.softmax(self.scores(graph, h)))
        if self.aggregate == "max":
            return graph.weighted_maximum(weights, h)
        total = graph.weighted_sum(weights, h)
        return total / graph.counts.to(h.dtype)[:, None] if self.aggregate == "mean" else total

    def drop(self, weights: Tensor) -> Tensor:
        """Dropout of coefficients."""
        return torch.nn.functional.dropout(weights, self.dropout, self.training)

    def scores(self, graph: AGNNConv.Messages, h: Tensor) -> Tensor:
        """Coefficients before the softmax, ``[E, H]``, for ``h [N, H, out_channels]``."""
        if self.attention == "cos":
            return graph.dot(h * self.left, h * self.right)
        if self.attention == "gene-linear":
            return graph.tanh_score(h * self.left, h * self.right, self.vector)
        right = (h * self.right).sum(-1)
        if self.attention == "linear":
            return torch.tanh(graph.at_senders(right))
        left = (h * self.left).sum(-1)
        score = torch.nn.functional.leaky_relu(graph.at_receivers(left) + graph.at_senders(right), 0.2)
        if self.attention == "sym-gat":
            score = score + torch.nn.functional.leaky_relu(graph.at_senders(left) + graph.at_receivers(right), 0.2)
        return score

    def extra_repr(self) -> str:
        """What distinguishes one layer from another."""
        return (
            f"{self.in_channels}, {self.out_channels}, heads={self.heads}, attention={self.attention}, "
            f"aggregate={self.aggregate}, combine={self.combine}, concat={self.concat}"
        )

    class Messages:
        """The messages of one graph in which every node has exactly one self-loop, by gather and scatter."""

        def __init__(self, edge_index: Tensor, nodes: int) -> None:
            edge_index, _ = torch_geometric.utils.remove_self_loops(edge_index)
            edge_index, _ = torch_geometric.utils.add_self_loops(edge_index, num_nodes=nodes)
            self.nodes = nodes
            self.sender, self.receiver = edge_index[0], edge_index[1]
            ones = torch.ones_like(self.receiver, dtype=torch.float64)
            self.counts = self._scattered(ones, "sum")[:, None]

        def _scattered(self, messages: Tensor, reduce: str) -> Tensor:
            return torch_geometric.utils.scatter(messages, self.receiver, 0, self.nodes, reduce)  # type: ignore[no-any-return]

        def sum(self, x: Tensor) -> Tensor:
            """Sum over the senders of each node."""
            return self._scattered(x[self.sender], "sum")

        def mean(self, x: Tensor) -> Tensor:
            """Mean over the senders of each node."""
            return self._scattered(x[self.sender], "mean")

        def _normalised(self, x: Tensor) -> Tensor:
            scale = self.counts.rsqrt()
            return x[self.sender] * (scale[self.sender] * scale[self.receiver]).to(x.dtype)

        def gcn(self, x: Tensor) -> Tensor:
            """Sum of ``x_j / sqrt(d_i d_j)``."""
            return self._scattered(self._normalised(x), "sum")

        def maximum(self, x: Tensor, gcn: bool = False) -> Tensor:
            """Largest message in each feature."""
            return self._scattered(self._normalised(x) if gcn else x[self.sender], "max")

        def weighted_sum(self, weights: Tensor, x: Tensor) -> Tensor:
            """``sum_j weights[ij, h] x[j, h]``, ``[N, H, C]``."""
            return self._scattered(weights[:, :, None] * x[self.sender], "sum")

        def weighted_maximum(self, weights: Tensor, x: Tensor) -> Tensor:
            """``max_j weights[ij, h] x[j, h]``, ``[N, H, C]``."""
            return self._scattered(weights[:, :, None] * x[self.sender], "max")

        def softmax(self, scores: Tensor) -> Tensor:
            """``scores [E, H]`` normalised over the messages that each node receives."""
            return torch_geometric.utils.softmax(scores, self.receiver, num_nodes=self.nodes)  # type: ignore[no-any-return]

        def at_receivers(self, x: Tensor) -> Tensor:
            """``x [N, H]`` of the receiver of every edge."""
            return x[self.receiver]

        def at_senders(self, x: Tensor) -> Tensor:
            """``x [N, H]`` of the sender of every edge."""
            return x[self.sender]

        def dot(self, a: Tensor, b: Tensor) -> Tensor:
            """``<a[i, h], b[j, h]>``, ``[E, H]``."""
            return (a[self.receiver] * b[self.sender]).sum(-1)

        def tanh_score(self, a: Tensor, b: Tensor, vector: Tensor) -> Tensor:
            """``<vector[h], tanh(a[i, h] + b[j, h])>``, ``[E, H]``."""
            return (torch.tanh(a[self.receiver] + b[self.sender]) * vector).sum(-1)
