"""The network of the NAC comparator: a graph encoder, and a head that gives each architecture two utilities."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from graphnas.encoding.dense import DenseBatch
from predictors.colour_encoder import ColourEncoder
from predictors.colours import ColourGraphs, colour

ENCODERS = ("bidirectional", "published")
HEADS = ("antisymmetric", "concatenation")


class PublishedEncoder(nn.Module):
    """Layers ``H <- relu((A + I) H W + b + H)``, then the mean over all rows, padding included.

    Adjacency without normalisation, messages along the edges only (Chen et al., CVPR 2021, as in their released code;
    the paper writes two layers). Padding starts at zero, but takes the bias: the result depends on how much there is.

    Args:
        tokens: size K of the vocabulary.
        width: D, features of a vertex.
        layers: number of layers.
    """

    def __init__(self, tokens: int, width: int = 128, layers: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Linear(tokens, width, bias=False)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def graphs(self, batch: DenseBatch) -> ColourGraphs:
        """What ``forward`` reads, of B graphs."""
        return colour(batch, len(self.layers), both=False, normalise=False, padding=True)

    def forward(self, graphs: ColourGraphs) -> Tensor:
        """Graph features ``[B, D]``."""
        h: Tensor = self.embedding(graphs.features)
        for linear_layer, layer in zip(self.layers, graphs.layers, strict=True):
            assert isinstance(linear_layer, nn.Linear)
            sent = h @ linear_layer.weight.T
            h = torch.relu(layer.messages @ sent + linear_layer.bias + layer.own @ h)
        return graphs.readout @ h


class ComparatorNetwork(nn.Module):
    """Two utilities u and v of each architecture; the logit of "a is better than b" is ``u(a) + v(b)``.

    The head "antisymmetric" is a perceptron g with u = g and v = -g, so that exchanging a and b exchanges the
    probabilities. The published "concatenation" head is linear in (z(a), z(b)), thus the sum of a part for each, and
    nothing makes these opposite.

    Args:
        tokens: size K of the vocabulary.
        width: features of a vertex and of the perceptron.
        layers: message passing layers.
        encoder: one of ``ENCODERS``.
        head: one of ``HEADS``.
    """

    def __init__(self, tokens: int, width: int, layers: int, encoder: str, head: str) -> None:
        super().__init__()
        kind = PublishedEncoder if encoder == "published" else ColourEncoder
        self.encoder: ColourEncoder | PublishedEncoder = kind(tokens, width, layers)
        self.antisymmetric = head == "antisymmetric"
        if self.antisymmetric:
            self.head: nn.Module = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1, bias=False))
        else:
            self.head = nn.Linear(2 * width, 1)

    def graphs(self, batch: DenseBatch) -> ColourGraphs:
        """What ``forward`` reads, of B graphs."""
        return self.encoder.graphs(batch)

    def forward(self, graphs: ColourGraphs) -> tuple[Tensor, Tensor]:
        """The utilities u and v, each ``[B]``."""
        z = self.encoder(graphs)
        if self.antisymmetric:
            utility = self.head(z).squeeze(-1)
            return utility, -utility
        assert isinstance(self.head, nn.Linear)
        first, second = self.head.weight.squeeze(0).chunk(2)
        return z @ first + self.head.bias, z @ second


def all_pairs_loss(u: Tensor, v: Tensor, scores: Tensor) -> Tensor:
    """Mean binary cross-entropy over all ordered pairs of different rows; equal scores have the target 1/2.

    Its minimisation is that of discordant pairs, hence of what Kendall's tau lacks of 1 (Chen et al., 2021, section 3).

    Args:
        u, v: utilities ``[n]``.
        scores: ``[n]``, larger is better.
    """
    difference = scores.unsqueeze(1) - scores.unsqueeze(0)
    target = (1 + torch.sign(difference)).to(u.dtype) / 2
    loss = binary_cross_entropy_with_logits(u.unsqueeze(1) + v.unsqueeze(0), target, reduction="none")
    n = len(scores)
    return (loss.sum() - loss.diagonal().sum()) / (n * (n - 1))


def shuffled_pairs_loss(u: Tensor, v: Tensor, scores: Tensor, generator: torch.Generator) -> Tensor:
    """Mean binary cross-entropy of each row against one row of a random permutation, as the released code pairs them.

    Rows that meet themselves are left out: their target would say that an architecture is worse than itself.
    """
    n = len(scores)
    other = torch.randperm(n, generator=generator)
    rows = torch.nonzero(other != torch.arange(n)).squeeze(1)
    if not len(rows):
        return (u.sum() + v.sum()) * 0
    target = (1 + torch.sign(scores[rows] - scores[other[rows]])).to(u.dtype) / 2
    return binary_cross_entropy_with_logits(u[rows] + v[other[rows]], target)
