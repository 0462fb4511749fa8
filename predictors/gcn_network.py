"""The network of the GCN predictor, and how one is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from graphnas.encoding.dense import DenseTensors
from predictors.encoder import GraphEncoder
from predictors.losses import Loss

_ROWS = 1024


class ScoreNetwork(nn.Module):
    """A graph encoder, and a head of one hidden layer that reads its graph feature beside scalars of the graph.

    Args:
        tokens: size of the vocabulary.
        scalars: number of scalars S.
        width: features of a vertex.
        layers: of message passing.
        hidden: width of the head's hidden layer.
        dropout: in the encoder's layers and on the hidden layer.
        kind: of the encoder's layers.
    """

    def __init__(
        self,
        tokens: int,
        scalars: int,
        width: int = 64,
        layers: int = 3,
        hidden: int = 128,
        dropout: float = 0.0,
        kind: str = "gcn",
    ) -> None:
        super().__init__()
        self.encoder = GraphEncoder(tokens, width, layers, dropout=dropout, kind=kind)
        self.hidden = nn.Linear(width + scalars, hidden)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(hidden, 1)

    def forward(self, graphs: DenseTensors, scalars: Tensor) -> Tensor:
        """Scores ``[B]`` of graphs with scalars ``[B, S]``."""
        read = torch.cat([self.encoder(graphs)[1], scalars], dim=1)
        return self.last(self.dropout(torch.relu(self.hidden(read)))).squeeze(1)  # type: ignore[no-any-return]

    @torch.no_grad()
    def evaluate(self, graphs: DenseTensors, scalars: Tensor) -> Tensor:
        """Scores ``[n]`` without dropout or gradient, 1,024 graphs at a time."""
        self.eval()
        starts = range(0, len(graphs), _ROWS)
        return torch.cat([self(graphs[i : i + _ROWS], scalars[i : i + _ROWS]) for i in starts])


def train(
    network: ScoreNetwork,
    graphs: DenseTensors,
    scalars: Tensor,
    targets: Tensor,
    loss: Loss,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
    generator: torch.Generator,
) -> None:
    """Minimise a loss by AdamW with a cosine schedule to 0, on random batches (all graphs if there are at most ``batch``)."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    network.train()
    for _ in range(steps):
        rows: Tensor | slice = slice(None)
        if len(targets) > batch:
            rows = torch.randperm(len(targets), generator=generator)[:batch]
        optimiser.zero_grad()
        loss(network(graphs[rows], scalars[rows]), targets[rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    network.eval()


@contextmanager
def one_thread(seed: int) -> Iterator[None]:
    """Torch on one thread with its global generator seeded; both are as before when the block ends.

    Small graphs train fastest so, and sums do not depend on the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
