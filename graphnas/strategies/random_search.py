"""Random search: independent draws, the baseline of every comparison (Li & Talwalkar, 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from graphnas.architecture import Architecture
from graphnas.strategies.base import Strategy, Trial


class RandomSearch(Strategy):
    """Draws architectures uniformly and learns nothing."""

    def ask(self, n: int) -> list[Architecture]:
        """``n`` independent draws."""
        return [self.space.sample(self.rng) for _ in range(n)]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing to learn."""
