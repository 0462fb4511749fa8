"""Small graphs of every awkward kind, with dense adjacency matrices (row = receiver) for reference formulas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

FEATURES = 6


@dataclass(frozen=True)
class SmallGraph:
    """Features [N, 6] in double precision, edges [2, E], and how many edges lead from j to i."""

    x: Tensor
    edge_index: Tensor

    @property
    def nodes(self) -> int:
        return len(self.x)

    @property
    def adjacency(self) -> np.ndarray:
        counts = np.zeros((self.nodes, self.nodes))
        senders, receivers = self.edge_index.numpy()
        np.add.at(counts, (receivers, senders), 1.0)
        return counts

    @property
    def without_loops(self) -> np.ndarray:
        return self.adjacency * (1 - np.eye(self.nodes))

    @property
    def with_loops(self) -> np.ndarray:
        return self.without_loops + np.eye(self.nodes)

    def permuted(self, order: Tensor) -> SmallGraph:
        """Node ``order[k]`` becomes node k; the edges are listed backwards."""
        place = torch.empty_like(order)
        place[order] = torch.arange(self.nodes)
        return SmallGraph(self.x[order], place[self.edge_index].flip(1))


def make(kind: str) -> SmallGraph:
    generator = torch.Generator().manual_seed(len(kind))
    nodes = 1 if kind.startswith("one node") else 9
    x = torch.randn(nodes, FEATURES, generator=generator, dtype=torch.float64)
    if kind in ("no edges", "one node"):
        return SmallGraph(x, torch.zeros(2, 0, dtype=torch.long))
    if kind == "one node with loops":
        return SmallGraph(x, torch.zeros(2, 2, dtype=torch.long))
    edges = torch.randint(nodes - 2, (2, 24), generator=generator)  # the last two nodes are isolated
    if kind == "undirected":
        half = torch.unique(torch.sort(edges[:, edges[0] != edges[1]], 0).values, dim=1)
        return SmallGraph(x, torch.cat([half, half.flip(0)], 1))
    loops = torch.tensor([[2, 2, 4, 8], [2, 2, 4, 8]])
    repeated = torch.tensor([[0, 0, 0], [1, 1, 1]])
    return SmallGraph(x, torch.cat([edges, loops, repeated], 1))


KINDS = ("undirected", "directed, with loops and repeated edges", "no edges", "one node", "one node with loops")


@pytest.fixture(params=KINDS)
def small_graph(request: pytest.FixtureRequest) -> SmallGraph:
    """A graph of each kind."""
    return make(request.param)


@pytest.fixture
def awkward_graph() -> SmallGraph:
    """Directed, with self-loops, repeated edges and isolated nodes."""
    return make(KINDS[1])
