"""The two encoders of NAO: over the vertices of the canonical graph, and over the decisions as they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graphnas.architecture import Architecture
from graphnas.encoding.dense import DenseTensors, encode_dense
from graphnas.encoding.forms import classes_of
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.space import Decisions, Space
from predictors.nao_latent import Latent, LatentEncoder
from predictors.nao_tokens import DecisionTokens
from predictors.nao_writings import Writings
from predictors.vertex_features import VertexFeatures

MAX_DEPTH = 32


@dataclass(frozen=True)
class PlacedGraphs:
    """Dense graphs with the place of every vertex: longest paths to it and from it, ``above`` and ``below`` ``[B, N]``."""

    graphs: DenseTensors
    above: Tensor
    below: Tensor

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, rows: Tensor) -> PlacedGraphs:
        return PlacedGraphs(self.graphs[rows], self.above[rows], self.below[rows])


class VertexEncoder(LatentEncoder[PlacedGraphs]):
    """One row for each vertex of the canonical graph, so that all writings of a graph have one latent.

    Bidirectional message passing, and embeddings of where a vertex stands between input and output, by which the decoder
    finds it.

    Args:
        space: whose architectures it reads.
        width: D.
        layers: message passing layers.
    """

    def __init__(self, space: Space, width: int, layers: int) -> None:
        super().__init__(space)
        self.writings = Writings(space)
        self.graph = VertexFeatures(len(vocabulary_of(space)), width, layers)
        self.above = nn.Embedding(MAX_DEPTH, width)
        self.below = nn.Embedding(MAX_DEPTH, width)

    def distinct(self, architectures: Sequence[Architecture]) -> tuple[list[Architecture], list[int]]:
        """The distinct canonical forms."""
        return classes_of(self.space, architectures)

    def writing(self, architecture: Architecture) -> Decisions:
        """The canonical writing: the graph does not tell how it was written."""
        return self.writings.canonical(architecture)

    def read(self, architectures: Sequence[Architecture]) -> PlacedGraphs:
        """The canonical graphs."""
        graphs = encode_dense(self.space, architectures).torch()
        return PlacedGraphs(graphs, depths(graphs.adjacency), depths(graphs.adjacency.transpose(1, 2)))

    def forward(self, inputs: PlacedGraphs) -> Latent:
        """The latent of B graphs."""
        return Latent(
            self.graph(inputs.graphs) + self.above(inputs.above) + self.below(inputs.below), inputs.graphs.mask
        ).unit()


class DecisionEncoder(LatentEncoder[Tensor]):
    """The paper's encoder: an LSTM reads the decisions as they are written, and each of its states is a row.

    Args:
        space: whose architectures it reads.
        width: D.
        layers: of the LSTM.
    """

    def __init__(self, space: Space, width: int, layers: int) -> None:
        super().__init__(space)
        self.tokens = DecisionTokens(space)
        self.embedding = nn.Embedding(len(self.tokens), width)
        self.recurrent = nn.LSTM(width, width, layers, batch_first=True)

    def distinct(self, architectures: Sequence[Architecture]) -> tuple[list[Architecture], list[int]]:
        """The distinct writings."""
        place: dict[Decisions, int] = {}
        first: list[Architecture] = []
        member = []
        for architecture in architectures:
            found = place.setdefault(self.space.encode(architecture), len(first))
            if found == len(first):
                first.append(architecture)
            member.append(found)
        return first, member

    def writing(self, architecture: Architecture) -> Decisions:
        """The decisions themselves."""
        return self.space.encode(architecture)

    def read(self, architectures: Sequence[Architecture]) -> Tensor:
        """Tokens ``[B, C]``."""
        decisions = torch.tensor([self.space.encode(a) for a in architectures], dtype=torch.long)
        return self.tokens.ids(decisions.view(len(architectures), -1))

    def forward(self, inputs: Tensor) -> Latent:
        """The latent of tokens ``[B, C]``."""
        states, _ = self.recurrent(self.embedding(inputs))
        return Latent(states, torch.ones(states.shape[:2], dtype=torch.bool)).unit()


ENCODERS: dict[str, Callable[[Space, int, int], LatentEncoder[Any]]] = {"graph": VertexEncoder, "lstm": DecisionEncoder}


def depths(adjacency: Tensor) -> Tensor:
    """For every vertex the length of the longest path that ends in it, at most ``MAX_DEPTH - 1``: ``[B, N]`` (int64).

    Args:
        adjacency: ``[B, N, N]``, row = receiver, acyclic. Its transpose gives the paths that begin in a vertex.
    """
    reached = torch.ones(adjacency.shape[:2], dtype=adjacency.dtype).unsqueeze(-1)
    found = torch.zeros(adjacency.shape[:2], dtype=torch.long)
    for _ in range(min(adjacency.shape[-1], MAX_DEPTH) - 1):
        reached = ((adjacency @ reached) > 0).to(adjacency.dtype)
        found = found + reached.squeeze(-1).long()
    return found
