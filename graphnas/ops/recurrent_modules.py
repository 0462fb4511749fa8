"""Modules of recurrent language models. Each class needs PyTorch only: an exported network carries its source text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class WordEmbedding(nn.Embedding):
    """A row for every word; in training, whole words of the vocabulary are zeroed at random (Gal & Ghahramani, NeurIPS 2016).

    Args:
        num_embeddings: words.
        embedding_dim: features of a row; drawn from [-0.1, 0.1].
        dropout: the probability that a word is zeroed, at all its places in a batch.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, dropout: float = 0.0) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.dropout = dropout
        nn.init.uniform_(self.weight, -0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """From words ``[B, T]`` to ``[B, T, F]``."""
        made = super().forward(x)
        if not self.training or not self.dropout:
            return made
        kept = torch.bernoulli(torch.full((self.num_embeddings,), 1 - self.dropout, device=x.device))
        return made * (kept / (1 - self.dropout)).to(made.dtype)[x].unsqueeze(-1)


class LockedDropout(nn.Module):
    """Dropout with one mask for all time steps of a sequence (variational; Gal & Ghahramani, NeurIPS 2016)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """``x[B, T, F]``."""
        if not self.training or not self.p:
            return x
        kept = torch.bernoulli(torch.full((len(x), 1, x.shape[2]), 1 - self.p, dtype=x.dtype, device=x.device))
        return x * (kept / (1 - self.p))


class Recurrent(nn.Module):
    """A cell that runs along a sequence: ``h_t = cell(x_t, h_(t-1), mask)``.

    Args:
        cell: from ``x[B, F]``, ``h[B, H]`` and ``mask[B, H]`` to the next ``h``.
        features: H.
        dropout: of the mask, which multiplies what recurrent weights read: one mask for all steps of a sequence and all
            nodes of the cell. Outside of training the mask is 1.
    """

    def __init__(self, cell: nn.Module, features: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.cell = cell
        self.features = features
        self.dropout = dropout

    def forward(self, x: Tensor, h: Tensor, *mix: Any) -> Tensor:
        """All states ``[B, T, H]`` for ``x[B, T, F]``.

        Args:
            x: inputs.
            h: the state before them, ``[B, H]``; ``[B, 0]`` stands for zeros, the beginning of a text.
            mix: weights of open decisions, where the cell has some.
        """
        if h.shape[1] == 0:
            h = x.new_zeros(len(x), self.features)
        mask = torch.ones_like(h)
        if self.training and self.dropout:
            mask = torch.bernoulli(mask * (1 - self.dropout)) / (1 - self.dropout)
        states = []
        for step in x.unbind(1):
            h = self.cell(step, h, mask, *mix)
            states.append(h)
        return torch.stack(states, 1)


class GateLinear(nn.Linear):
    """A linear map without bias whose weights are drawn from [-0.04, 0.04], as DARTS draws those of its cells."""

    def reset_parameters(self) -> None:
        """Draw the weights."""
        nn.init.uniform_(self.weight, -0.04, 0.04)


class WordScores(nn.Module):
    """One score a word: ``h W^T + b`` with the rows W of the embedding (Press & Wolf, EACL 2017; Inan et al., ICLR 2017).

    Args:
        words: size of the vocabulary.
    """

    def __init__(self, words: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, h: Tensor, weight: Tensor) -> Tensor:
        """From ``h[B, T, F]`` and ``weight[words, F]`` to ``[B, T, words]``."""
        return nn.functional.linear(h, weight, self.bias)
