"""Architectures as points of a latent space: what the two encoders of NAO share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn
from torch.nn.functional import normalize

from graphnas.architecture import Architecture
from graphnas.space import Decisions, Space


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


class Inputs(Protocol):
    """What an encoder reads of B architectures; indexing takes some of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Inputs: ...


In = TypeVar("In", bound=Inputs)


class LatentEncoder(nn.Module, ABC, Generic[In]):
    """From architectures to their latents.

    Args:
        space: whose architectures it reads.
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    @abstractmethod
    def distinct(self, architectures: Sequence[Architecture]) -> tuple[list[Architecture], list[int]]:
        """The architectures without repetitions of what it sees as equal, and for each of them the place of its own."""

    @abstractmethod
    def writing(self, architecture: Architecture) -> Decisions:
        """What the decoder has to write for it: the same for all architectures that the encoder sees as equal."""

    @abstractmethod
    def read(self, architectures: Sequence[Architecture]) -> In:
        """What ``forward`` needs of B architectures."""

    @abstractmethod
    def forward(self, inputs: In) -> Latent:
        """The latent of B architectures."""
