"""The network of the GCN predictor, and how one is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from graphnas.ops.dropout import Dropout
from predictors.colour_encoder import ColourEncoder
from predictors.colours import ColourGraphs
from predictors.losses import Loss


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
        self.encoder = ColourEncoder(tokens, width, layers, kind=kind, dropout=dropout)
        self.hidden = nn.Linear(width + scalars, hidden)
        self.dropout = Dropout(dropout)
        self.last = nn.Linear(hidden, 1)

    def forward(self, graphs: ColourGraphs, scalars: Tensor) -> Tensor:
        """Scores ``[B]`` of graphs with scalars ``[B, S]``."""
        return self.last(self.features(graphs, scalars)).squeeze(1)  # type: ignore[no-any-return]

    def features(self, graphs: ColourGraphs, scalars: Tensor) -> Tensor:
        """What the last map reads, ``[B, hidden]``."""
        read = torch.cat([self.encoder(graphs), scalars], dim=1)
        made: Tensor = self.dropout(torch.relu(self.hidden(read)))
        return made

    @torch.no_grad()
    def evaluate(self, graphs: ColourGraphs, scalars: Tensor) -> Tensor:
        """Scores ``[n]`` without dropout or gradient."""
        self.eval()
        return self(graphs, scalars)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class SideTask:
    """Cheap signals that a network learns to predict beside the scores (multi-task learning: Caruana, Machine Learning 1997).

    Attributes:
        graphs, scalars: of n architectures that need no labels.
        targets: ``[n, k]``, standardised signals.
        weight: of their squared error in the loss.
    """

    graphs: ColourGraphs
    scalars: Tensor
    targets: Tensor
    weight: float = 1.0


def train(
    network: ScoreNetwork,
    graphs: ColourGraphs,
    scalars: Tensor,
    targets: Tensor,
    loss: Loss,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
    generator: torch.Generator,
    side: SideTask | None = None,
) -> None:
    """Minimise a loss by AdamW with a cosine schedule to 0, on random batches (all graphs if there are at most ``batch``).

    With a side task every step adds its loss on a random batch of its own, by a linear map that is dropped afterwards.
    """
    parameters = list(network.parameters())
    head = None
    if side is not None:
        head = nn.Linear(network.hidden.out_features, side.targets.shape[1])
        parameters += head.parameters()
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    network.train()
    for _ in range(steps):
        some, read, wanted = graphs, scalars, targets
        if len(targets) > batch:
            rows = torch.randperm(len(targets), generator=generator)[:batch]
            some, read, wanted = graphs[rows.numpy()], scalars[rows], targets[rows]
        optimiser.zero_grad()
        total = loss(network(some, read), wanted)
        if side is not None and head is not None:
            rows = torch.randperm(len(side.targets), generator=generator)[:batch]
            said = head(network.features(side.graphs[rows.numpy()], side.scalars[rows]))
            total = total + side.weight * mse_loss(said, side.targets[rows])
        total.backward()  # type: ignore[no-untyped-call]
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
