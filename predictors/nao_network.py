"""Encoder, value head and decoder of NAO: architectures as points of a space with gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from graphnas.encoding.dense import DenseTensors
from predictors.encoder import GraphEncoder


class Latent(NamedTuple):
    """Architectures in the latent space: rows ``[B, N, D]`` of unit length (zero at padding), and ``mask [B, N]``."""

    rows: Tensor
    mask: Tensor

    def unit(self) -> Latent:
        """The same with all rows at unit length again."""
        return Latent(normalize(self.rows, dim=-1) * self.mask.unsqueeze(-1), self.mask)

    def vector(self) -> Tensor:
        """One vector of unit length for each architecture, the direction of the mean row: ``[B, D]``."""
        return normalize(self.rows.sum(1) / self.mask.sum(1, keepdim=True).clamp_min(1), dim=-1)


MAX_DEPTH = 32


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


class NAONetwork(nn.Module):
    """Graph encoder, value head, and a decoder that writes the decisions of a Space one after the other.

    Luo et al. (NeurIPS 2018) encode and decode token sequences with LSTMs. Here a graph encoder reads the architecture,
    so that writings of one graph have one latent, and a gated recurrent unit writes the decisions: it starts from the
    vector of the latent, and each decision is read from the rows that it attends to. Only the options of the choice in
    turn are allowed.

    Args:
        tokens: size of the vocabulary of the graphs.
        radices: number of options of each decision.
        width: D.
        layers: message passing layers.
    """

    def __init__(self, tokens: int, radices: Sequence[int], width: int, layers: int) -> None:
        super().__init__()
        self.radices = tuple(radices)
        self.encoder = GraphEncoder(tokens, width, layers)
        self.above = nn.Embedding(MAX_DEPTH, width)
        self.below = nn.Embedding(MAX_DEPTH, width)
        self.value = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        # Each option of each choice has its own embedding, after the one of the start.
        self.offsets = [1 + sum(self.radices[:i]) for i in range(len(self.radices))]
        self.embedding = nn.Embedding(1 + sum(self.radices), width)
        self.start = nn.Linear(width, width)
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.query = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, sum(self.radices))

    def encode(self, graphs: DenseTensors) -> Latent:
        """The latent of dense graphs."""
        rows, _ = self.encoder(graphs)
        # Where a vertex stands between input and output: the decoder must find it there.
        place = self.above(depths(graphs.adjacency)) + self.below(depths(graphs.adjacency.transpose(1, 2)))
        return Latent(rows + place, graphs.mask).unit()

    def score(self, latent: Latent) -> Tensor:
        """Predicted scores ``[B]``, scaled to [0, 1] by the training scores."""
        scores: Tensor = self.value(latent.vector()).squeeze(-1)
        return scores

    def loss(self, latent: Latent, decisions: Tensor) -> Tensor:
        """Mean negative log-likelihood of the decisions ``[B, C]``, each given those before (teacher forcing)."""
        shift = torch.tensor(self.offsets)
        before = torch.cat([torch.zeros_like(decisions[:, :1]), decisions[:, :-1] + shift[:-1]], dim=1)
        logits, _ = self._logits(latent, before, self._begin(latent))
        losses = [
            cross_entropy(logits[:, i, start - 1 : start - 1 + radix], decisions[:, i])
            for i, (start, radix) in enumerate(zip(self.offsets, self.radices, strict=True))
        ]
        return torch.stack(losses).mean()

    def _begin(self, latent: Latent) -> Tensor:
        return torch.tanh(self.start(latent.vector())).unsqueeze(0)

    def _logits(self, latent: Latent, before: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of all options ``[B, T, sum of radices]`` after the tokens ``before [B, T]``, and the new hidden state."""
        states, hidden = self.recurrent(self.embedding(before), hidden)
        rows = latent.rows * latent.rows.shape[-1] ** 0.5  # entries of a unit row are small
        weights = self.query(states) @ rows.transpose(1, 2)
        weights = weights.masked_fill(~latent.mask.unsqueeze(1), -torch.inf).softmax(-1)
        # The state only says where to look: read by the output itself, it would learn the training set by heart.
        return self.out(weights @ rows), hidden

    @torch.no_grad()
    def decode(
        self, latent: Latent, beams: int, valid: Callable[[tuple[int, ...]], bool]
    ) -> list[tuple[int, ...] | None]:
        """For each latent the most likely valid decisions that a beam search finds; None where it finds none.

        Args:
            latent: B architectures.
            beams: how many partial decisions are carried along for each.
            valid: the rule for complete decisions.
        """
        batch = len(latent.rows)
        wide = Latent(latent.rows.repeat_interleave(beams, 0), latent.mask.repeat_interleave(beams, 0))
        hidden = self._begin(wide)
        before = torch.zeros(batch * beams, 1, dtype=torch.long)
        made = torch.zeros(batch, beams, 0, dtype=torch.long)
        # All beams are equal at the start: only the first one counts.
        total = torch.full((batch, beams), -torch.inf)
        total[:, 0] = 0
        for start, radix in zip(self.offsets, self.radices, strict=True):
            logits, hidden = self._logits(wide, before, hidden)
            likely = logits[:, 0, start - 1 : start - 1 + radix].log_softmax(-1).view(batch, beams, radix)
            total, place = (total.unsqueeze(-1) + likely).flatten(1).topk(beams, dim=1)
            parent, option = place // radix, place % radix
            made = torch.cat([made.gather(1, parent.unsqueeze(-1).expand(-1, -1, made.shape[2])), option[..., None]], 2)
            rows = (torch.arange(batch).unsqueeze(1) * beams + parent).flatten()
            hidden = hidden[:, rows].contiguous()
            before = (option + start).view(-1, 1)
        found: list[tuple[int, ...] | None] = []
        for some, weights in zip(made.tolist(), total.tolist(), strict=True):
            possible = (tuple(d) for d, w in zip(some, weights, strict=True) if w > -torch.inf)
            found.append(next((d for d in possible if valid(d)), None))
        return found
