"""Features of every vertex of padded dense graphs: message passing along and against the edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphnas.encoding.dense import DenseTensors


class VertexFeatures(nn.Module):
    """Layers ``H <- H + relu(P H W_forward + P' H W_backward + b)`` on padded dense graphs.

    P is the adjacency with self-loops (row = receiver), P' its transpose with self-loops, both divided by their row sums
    (Kipf & Welling, ICLR 2017; bidirectional as in Wen et al., ECCV 2020). The first layer is a look-up: token table times
    weights, indexed by the kinds of the vertices.

    Args:
        tokens: size K of the vocabulary.
        width: D, features of a vertex.
        layers: number of layers.
    """

    def __init__(self, tokens: int, width: int = 128, layers: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Linear(tokens, width, bias=False)
        self.forwards = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.backwards = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))

    def forward(self, graphs: DenseTensors) -> Tensor:
        """Vertex features ``[B, N, D]``, zero at padding."""
        mask = graphs.mask.unsqueeze(-1).to(graphs.table.dtype)
        h: Tensor = self.embedding(graphs.table)[graphs.kinds] * mask
        along, against = _propagator(graphs.adjacency), _propagator(graphs.adjacency.transpose(1, 2))
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            h = (h + torch.relu(forwards(along @ h) + backwards(against @ h))) * mask
        return h


def _propagator(adjacency: Tensor) -> Tensor:
    with_loops = adjacency + torch.eye(adjacency.shape[-1], dtype=adjacency.dtype, device=adjacency.device)
    return with_loops / with_loops.sum(-1, keepdim=True)
