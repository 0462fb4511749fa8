"""The graph encoder of the predictors that read a graph as a whole: message passing on colours, along and against the edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from graphnas.encoding.dense import DenseBatch
from graphnas.errors import unknown
from graphnas.ops.dropout import Dropout
from predictors.colours import ColourGraphs, colour

KINDS = ("gcn", "gin")


class ColourEncoder(nn.Module):
    """Layers that pass messages along and against the edges, then the mean over the vertices of a graph.

    In "gcn" layers (Kipf & Welling, ICLR 2017; bidirectional as in Wen et al., ECCV 2020)
    ``H <- H + relu(P H W_forward + P' H W_backward + b)``: P is the adjacency with self-loops (row = receiver), P' its
    transpose with self-loops, both divided by their row sums. In "gin" layers (Xu et al., ICLR 2019, equation 4.1, for both
    directions) two-layer perceptrons read sums:
    ``H <- H + relu(W_2 relu((1 + e) H W_1 + A H W_forward + A' H W_backward + b) + b_2)``, with A the adjacency without
    self-loops, and e learned.

    Vertices of one colour are worked out once, and dropout draws once for them.

    Args:
        tokens: size K of the vocabulary.
        width: D, features of a vertex.
        layers: number of layers.
        kind: "gcn" or "gin".
        dropout: on what a layer adds.

    Raises:
        GraphnasError: unknown kind.
    """

    def __init__(
        self, tokens: int, width: int = 128, layers: int = 4, *, kind: str = "gcn", dropout: float = 0.0
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise unknown("kind of graph encoder", kind, KINDS)
        self.kind = kind
        self.layers = layers
        self.embedding = nn.Linear(tokens, width, bias=False)
        self.forwards = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.backwards = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))
        inner = layers if kind == "gin" else 0
        self.own = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(inner))
        self.outer = nn.ModuleList(nn.Linear(width, width) for _ in range(inner))
        self.epsilon = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in range(inner))
        self.dropout = Dropout(dropout)

    def graphs(self, batch: DenseBatch) -> ColourGraphs:
        """What ``forward`` reads, of B graphs."""
        return coloured(batch, self.layers, self.kind)

    def forward(self, graphs: ColourGraphs) -> Tensor:
        """Graph features ``[B, D]``."""
        h: Tensor = self.embedding(graphs.features)
        width = h.shape[1]
        for i, layer in enumerate(graphs.layers):
            along, against = self.forwards[i], self.backwards[i]
            assert isinstance(along, nn.Linear)
            assert isinstance(against, nn.Linear)
            # Rows 2c and 2c + 1 are what colour c sends along and against its edges.
            weight = torch.cat([along.weight, against.weight])
            if self.kind == "gcn":
                # The weights of the messages along the edges sum to 1, so their bias can be added before.
                bias = torch.cat([along.bias, along.bias.new_zeros(width)])
                message = layer.messages @ linear(h, weight, bias).reshape(-1, width)
            else:
                own = layer.own @ ((1 + self.epsilon[i]) * self.own[i](h))
                message = layer.messages @ linear(h, weight).reshape(-1, width) + own + along.bias
                message = self.outer[i](torch.relu(message))
            h = layer.own @ h + self.dropout(torch.relu(message))
        return graphs.readout @ h


def coloured(batch: DenseBatch, layers: int, kind: str = "gcn") -> ColourGraphs:
    """What an encoder of so many layers of this kind reads, of B graphs."""
    return colour(batch, layers, normalise=kind == "gcn", loops=kind == "gcn")
