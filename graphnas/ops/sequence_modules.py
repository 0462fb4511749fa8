"""Layers of sequences that PyTorch lacks. Each class needs PyTorch only: an exported network carries its source text.

Sequences are ``[B, L, features]``; a mask ``[B, L]`` is True where there is a token. Reading is causal where the result at
a position must not depend on later ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TokenTable(nn.Module):
    """One vector for each token: ``[tokens, features]``, which embeddings and the output share (Press & Wolf, EACL 2017)."""

    def __init__(self, tokens: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(tokens, features))
        nn.init.normal_(self.weight, std=features**-0.5)

    def forward(self) -> Tensor:
        """The table."""
        return self.weight


class Embedding(nn.Module):
    """Vectors of tokens times the root of their size, mapped to ``out_features`` if these are others; plus positions; dropout.

    Positions are sines and cosines (Vaswani et al., NeurIPS 2017, section 3.5), the sines first.
    """

    def __init__(self, in_features: int, out_features: int, dropout: nn.Module) -> None:
        super().__init__()
        self.factor = in_features**0.5
        self.out_features = out_features
        self.project = (
            nn.Identity() if in_features == out_features else nn.Linear(in_features, out_features, bias=False)
        )
        self.dropout = dropout

    def forward(self, tokens: Tensor, table: Tensor) -> Tensor:
        """``tokens[B, L]`` and their ``table[tokens, in_features]``."""
        x = self.project(nn.functional.embedding(tokens, table) * self.factor)
        half = (self.out_features + 1) // 2
        rates = 10000.0 ** (torch.arange(half, device=x.device) / -max(half - 1, 1))
        angles = torch.arange(x.shape[1], device=x.device)[:, None] * rates
        places = torch.cat([angles.sin(), angles.cos()], 1)[:, : self.out_features].to(x.dtype)
        return self.dropout(x + places)  # type: ignore[no-any-return]


class TiedOutput(nn.Module):
    """Scores of all tokens: products with their vectors in the table."""

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """``x[B, L, features]`` and ``table[tokens, features]``."""
        return nn.functional.linear(x, table)


class Residual(nn.Module):
    """``LayerNorm(x + dropout(operation(x)))``; further inputs are the operation's."""

    def __init__(self, operation: nn.Module, features: int, dropout: nn.Module, affine: bool) -> None:
        super().__init__()
        self.operation = operation
        self.dropout = dropout
        self.norm = nn.LayerNorm(features, elementwise_affine=affine)

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """``x[B, L, features]``."""
        return self.norm(x + self.dropout(self.operation(x, *others)))  # type: ignore[no-any-return]


class Convolution(nn.Module):
    """Convolution over positions, ReLU. It reads zeros where there are no tokens; a causal one ends at its position."""

    def __init__(self, features: int, kernel: int, causal: bool) -> None:
        super().__init__()
        self.before = kernel - 1 if causal else kernel // 2
        self.after = kernel - 1 - self.before
        self.convolution = nn.Conv1d(features, features, kernel)
        nn.init.xavier_uniform_(self.convolution.weight)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``x[B, L, features]``, ``mask[B, L]``."""
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0.0)
        padded = nn.functional.pad(x.transpose(1, 2), (self.before, self.after))
        return self.convolution(padded).transpose(1, 2).relu()  # type: ignore[no-any-return]


class DynamicConvolution(nn.Module):
    """A gated linear map, a depthwise convolution whose kernel each position works out for itself, a linear map.

    The kernel of a head is the softmax of a linear map of the position's features (Wu et al., ICLR 2019, equation 3); the
    features of a head share it.
    """

    def __init__(self, features: int, kernel: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.kernel, self.heads = kernel, heads
        self.before = kernel - 1 if causal else kernel // 2
        self.gate = nn.Linear(features, 2 * features)
        self.weights = nn.Linear(features, heads * kernel, bias=False)
        self.out = nn.Linear(features, features)
        for linear in (self.gate, self.weights, self.out):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``x[B, L, features]``, ``mask[B, L]``."""
        batch, length, features = x.shape
        x, gate = self.gate(x).chunk(2, -1)
        x = x * gate.sigmoid()
        # The softmax written out: torch's own takes several times as long over so few entries on a CPU.
        scores = self.weights(x).view(batch, length, self.heads, self.kernel)
        kernels = (scores - scores.detach().amax(-1, keepdim=True)).exp()
        kernels = (kernels / kernels.sum(-1, keepdim=True)).transpose(1, 2)
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0.0)
        # Row i of the band matrix has the kernel of position i from column i on: a row that is one longer than
        # the matrix moves every next one by a column.
        wide = length + self.kernel - 1
        band = nn.functional.pad(kernels, (0, length)).flatten(2)[..., : length * wide]
        band = band.reshape(batch, self.heads, length, wide)
        padded = nn.functional.pad(x, (0, 0, self.before, self.kernel - 1 - self.before))
        values = padded.view(batch, -1, self.heads, features // self.heads).transpose(1, 2)
        return self.out((band @ values).transpose(1, 2).reshape(batch, length, features))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Scaled dot-product attention in ``heads`` heads (Vaswani et al., NeurIPS 2017, section 3.2).

    Without ``memory_features`` a sequence reads itself; causal, each position reads itself and the earlier ones.
    """

    def __init__(self, features: int, heads: int, causal: bool = False, memory_features: int | None = None) -> None:
        super().__init__()
        self.heads, self.causal, self.itself = heads, causal, memory_features is None
        self.query = nn.Linear(features, features)
        self.keys = nn.Linear(memory_features or features, 2 * features)
        self.out = nn.Linear(features, features)
        for weight in (self.query.weight, *self.keys.weight.chunk(2), self.out.weight):
            nn.init.xavier_uniform_(weight.data)

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """``x[B, L, features]``, then the memory ``[B, S, memory_features]`` if it reads one, then a mask of what is read."""
        memory, masks = (x, others) if self.itself else (others[0], others[1:])
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        keys, values = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.keys(memory).chunk(2, -1))
        scores = query @ keys.transpose(-1, -2) * query.shape[-1] ** -0.5
        for mask in masks:
            scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, float("-inf"))
        return self.out((scores.softmax(-1) @ values).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]
