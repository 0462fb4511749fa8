"""The graph encoder that the neural predictors share: message passing along and against the edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphnas.encoding.dense import DenseTensors
from graphnas.errors import GraphnasError, unknown

KINDS = ("gcn", "gin")
NORMALISATIONS = ("degree", "none")
READOUTS = ("mean", "mean_all", "sum")


class GraphEncoder(nn.Module):
    """Layers ``H <- H + relu(P H W_forward + P' H W_backward)`` on padded dense graphs, then a readout.

    P is the adjacency with self-loops (row = receiver), P' its transpose with self-loops; both are divided by their row
    sums under "degree" (Kipf & Welling, 2017; bidirectional as in Wen et al., ECCV 2020). The first layer is a look-up:
    token table times weights, indexed by the kinds of the vertices.

    Args:
        tokens: size K of the vocabulary.
        width: D, features of a vertex.
        layers: number of message passing layers.
        both: pass messages against the edges as well.
        normalisation: "degree" or "none".
        readout: "mean" over vertices, "mean_all" over padding too (as CTNAS does), or "sum".
        dropout: on the features of each layer.
        kind: "gcn" for the layers above; in "gin" layers (Xu et al., ICLR 2019, equation 4.1, for both directions) two-layer
            perceptrons read sums: ``H <- H + relu(W2 relu((1 + e) H W1 + A H W_forward + A' H W_backward))``, where A is
            the adjacency without self-loops and without normalisation, and e is learned.

    Raises:
        GraphnasError: unknown normalisation, readout or kind.
    """

    def __init__(
        self,
        tokens: int,
        width: int = 128,
        layers: int = 4,
        *,
        both: bool = True,
        normalisation: str = "degree",
        readout: str = "mean",
        dropout: float = 0.0,
        kind: str = "gcn",
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise unknown("kind of graph encoder", kind, KINDS)
        if normalisation not in NORMALISATIONS or readout not in READOUTS:
            raise GraphnasError(f"unknown normalisation {normalisation!r} or readout {readout!r} of a graph encoder")
        self.normalisation = normalisation
        self.readout = readout
        self.both = both
        self.embedding = nn.Linear(tokens, width, bias=False)
        self.forwards = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.backwards = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers if both else 0))
        self.kind = kind
        inner = layers if kind == "gin" else 0
        self.own = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(inner))
        self.outer = nn.ModuleList(nn.Linear(width, width) for _ in range(inner))
        self.epsilon = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in range(inner))
        self.dropout = nn.Dropout(dropout)

    def forward(self, graphs: DenseTensors) -> tuple[Tensor, Tensor]:
        """Vertex features ``[B, N, D]`` (zero at padding) and graph features ``[B, D]``."""
        mask = graphs.mask.unsqueeze(-1).to(graphs.table.dtype)
        h = self.embedding(graphs.table)[graphs.kinds] * mask
        along = self._propagator(graphs.adjacency)
        against = self._propagator(graphs.adjacency.transpose(1, 2)) if self.both else None
        for i, layer in enumerate(self.forwards):
            message = layer(along @ h)
            if against is not None:
                message = message + self.backwards[i](against @ h)
            if self.kind == "gin":
                message = self.outer[i](torch.relu(message + self.own[i]((1 + self.epsilon[i]) * h)))
            h = (h + self.dropout(torch.relu(message))) * mask
        return h, self._read(h, mask)

    def _propagator(self, adjacency: Tensor) -> Tensor:
        if self.kind == "gin":
            return adjacency
        with_loops = adjacency + torch.eye(adjacency.shape[-1], dtype=adjacency.dtype, device=adjacency.device)
        if self.normalisation == "none":
            return with_loops
        return with_loops / with_loops.sum(-1, keepdim=True)

    def _read(self, h: Tensor, mask: Tensor) -> Tensor:
        total = h.sum(1)
        if self.readout == "sum":
            return total
        if self.readout == "mean_all":
            return total / h.shape[1]
        return total / mask.sum(1).clamp_min(1)
