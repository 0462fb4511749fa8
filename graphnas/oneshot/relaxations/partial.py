"""Partial channels and normalised edges of PC-DARTS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graphnas.oneshot.base import Alpha, Group, Mix, Tensors
from graphnas.oneshot.relaxations.base import Relaxation
from graphnas.oneshot.relaxations.softmax import Softmax

EDGES = ":edges"


@dataclass(frozen=True)
class PartialChannels(Relaxation):
    """A softmax over the options of an edge times one over the edges of a node (Xu et al., ICLR 2020).

    Edge weights are further parameters ``<group>:edges`` ``[R, 1]``. Since the operations' softmax sums to 1, a row of
    ``Mix.weights`` sums to its edge's weight, with which the supernet weights the channels that bypass the operation.

    Attributes:
        channels: one channel in so many passes the operation.
    """

    channels: int = 4

    def __call__(
        self, groups: Sequence[Group], alpha: Alpha, progress: float, generator: torch.Generator, n: int | None = None
    ) -> Mix:
        """The same weights for every example."""
        return self.expected(groups, alpha, progress)

    def expected(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> Mix:
        """Operation times edge."""
        mix = Softmax().expected(groups, alpha, progress)
        rows = dict(mix.weights)
        weights: Tensors = {}
        for g in groups:
            edges = rows[g.name + EDGES] = node_softmax(alpha[g.name + EDGES][:, 0], g.nodes)[:, None]
            weights[g.name] = mix.weights[g.name] * edges
        return replace(mix, weights=weights, rows=rows, channels=self.channels)

    def masks(self, groups: Sequence[Group]) -> Tensors:
        """The groups', and all edges."""
        made = super().masks(groups)
        return {**made, **{g.name + EDGES: torch.ones(len(g.rows), 1, dtype=torch.bool) for g in groups}}


def node_softmax(values: Tensor, nodes: Sequence[Sequence[int]]) -> Tensor:
    """The softmax of ``[R]`` values over the rows of each node."""
    order = torch.tensor([row for rows in nodes for row in rows], device=values.device)
    parts = [values[list(rows)].softmax(0) for rows in nodes]
    return torch.cat(parts)[order.argsort()]
