"""Batches of sentence pairs of about one length for gradient-based search."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from graphnas.oneshot.streams import Split
from graphnas.oneshot.task_streams import Drawn
from graphnas.tasks.base import Batch


class ByLength(Split):
    """Training pairs in an inner and an outer part, whose batches hold pairs of about one length.

    Args:
        lengths: of the two sentences of every pair, ``[n, 2]``.
        fetch: the batch of the pairs with these numbers.
        batch: pairs.
        portion, seed: see ``Split``.
    """

    def __init__(
        self, lengths: np.ndarray, fetch: Callable[[np.ndarray], Batch], batch: int, portion: float | None, seed: int
    ) -> None:
        def drawn(indices: Tensor, dropout: int) -> Drawn:
            return Drawn(fetch(indices.numpy()), dropout)

        super().__init__(len(lengths), batch, drawn, portion, seed)
        sizes = torch.from_numpy(lengths.astype(np.int64))
        self.lengths = sizes[:, 0] * (1 + int(sizes[:, 1].max())) + sizes[:, 1]

    def order(self, part: int, epoch: int) -> Tensor:
        """What does not fill a batch is left out at random; the others by length, and their batches at random."""
        drawn = super().order(part, epoch)
        drawn = drawn[: len(drawn) // self.batch * self.batch]
        batches = drawn[self.lengths[drawn].argsort(stable=True)].view(-1, self.batch)
        places = np.random.default_rng([self.seed, 5 + part, epoch]).permutation(len(batches))
        return batches[torch.from_numpy(places)].flatten()
