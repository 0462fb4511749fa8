"""Batches by their number, so that a search can go on from any step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Tensors


class Streams(Protocol):
    """Two endless sequences of batches, each a function of the number alone."""

    @property
    def length(self) -> int:
        """Inner batches of an epoch."""

    @property
    def outer_length(self) -> int:
        """Outer batches of an epoch."""

    def inner(self, index: int) -> Any:
        """A batch that the weights are trained with."""

    def outer(self, index: int) -> Any:
        """A batch that the architecture is trained with."""


@runtime_checkable
class Follows(Protocol):
    """Streams whose batches depend on the present weights: control, where the supernet acts while it learns."""

    def follow(self, context: Any) -> None:
        """Know this ``Context``, that of the step whose batches are asked for next."""

    def memory(self) -> Tensors:
        """At the end of an epoch, what later epochs need of this and earlier ones."""

    def restore(self, memory: Tensors) -> None:
        """Go on from what ``memory`` gave."""


class Split:
    """Examples divided in an inner and an outer part, each reshuffled at the start of every one of its epochs.

    What does not fill a batch at the end of an epoch is left out, so that all batches are of one size.

    Args:
        examples: how many there are.
        batch: size of a batch.
        fetch: ``fetch(indices, seed)`` gives the batch of these examples; the seed is for augmentation and dropout.
        portion: of the examples that are inner; None: all are both (single-level search).
        seed: of the division and of the orders.

    Raises:
        GraphnasError: a portion that is not within (0, 1), or fewer examples than fill one batch of each part.
    """

    def __init__(
        self, examples: int, batch: int, fetch: Callable[[Tensor, int], Any], portion: float | None = 0.5, seed: int = 0
    ) -> None:
        if portion is not None and not 0 < portion < 1:
            raise GraphnasError(f"the inner portion of the examples must lie between 0 and 1, not {portion}")
        order = torch.from_numpy(np.random.default_rng([seed, 0]).permutation(examples))
        cut = examples if portion is None else round(examples * portion)
        self.parts = (order, order) if portion is None else (order[:cut], order[cut:])
        if batch < 1 or min(map(len, self.parts)) < batch:
            raise GraphnasError(
                f"{examples} examples in parts of {len(self.parts[0])} and {len(self.parts[1])} do not fill a batch of "
                f"{batch}; choose a smaller batch"
            )
        self.batch = batch
        self.fetch = fetch
        self.seed = seed
        self._orders: dict[int, tuple[int, Tensor]] = {}

    @property
    def length(self) -> int:
        """Inner batches of an epoch."""
        return len(self.parts[0]) // self.batch

    @property
    def outer_length(self) -> int:
        """Outer batches of an epoch."""
        return len(self.parts[1]) // self.batch

    def inner(self, index: int) -> Any:
        """A batch of the inner part."""
        return self._fetched(0, index, self.length)

    def outer(self, index: int) -> Any:
        """A batch of the outer part."""
        return self._fetched(1, index, self.outer_length)

    def _fetched(self, part: int, index: int, length: int) -> Any:
        epoch, place = divmod(index, length)
        known = self._orders.get(part)
        if known is None or known[0] != epoch:
            known = self._orders[part] = epoch, self.order(part, epoch)
        seed = np.random.SeedSequence([self.seed, 3 + part, index]).generate_state(1)[0]
        return self.fetch(known[1][place * self.batch : (place + 1) * self.batch], int(seed))

    def order(self, part: int, epoch: int) -> Tensor:
        """The examples of a part in the order of an epoch, one batch after the other."""
        drawn = np.random.default_rng([self.seed, 1 + part, epoch]).permutation(len(self.parts[part]))
        return self.parts[part][torch.from_numpy(drawn)]
