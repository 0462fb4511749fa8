"""Encoder, value head and decoder of NAO in one module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graphnas.space import Space
from predictors.nao_decoder import AttentionDecoder
from predictors.nao_encoders import ENCODERS
from predictors.nao_latent import Latent, LatentEncoder


class NAONetwork(nn.Module):
    """An encoder, a head that predicts the score from the vector of a latent, and a decoder.

    Args:
        space: whose architectures it reads and writes.
        encoder: "graph" or "lstm".
        width: D, of all layers.
        layers: of the encoder.
        bounded: predicted scores lie between 0 and 1, as the paper's do.
    """

    def __init__(self, space: Space, encoder: str, width: int, layers: int, bounded: bool = False) -> None:
        super().__init__()
        self.bounded = bounded
        self.encoder: LatentEncoder[Any] = ENCODERS[encoder](space, width, layers)
        self.value = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.decoder = AttentionDecoder(space, width)

    def score(self, latent: Latent) -> Tensor:
        """Predicted scores ``[B]``, in the scale of the training targets."""
        scores: Tensor = self.value(latent.vector()).squeeze(-1)
        return scores.sigmoid() if self.bounded else scores

    def climb(self, latent: Latent, step: float) -> Latent:
        """The latent after ``H <- unit rows of (H + step * d score / d H)``; all rows move, since the decoder reads them all."""
        return Latent(latent.rows + step * self.gradient(latent), latent.mask).unit()

    def gradient(self, latent: Latent) -> Tensor:
        """The gradient of each score in its own rows, ``[B, N, D]``."""
        rows = latent.rows.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(self.score(Latent(rows, latent.mask)).sum(), rows)
        return found
