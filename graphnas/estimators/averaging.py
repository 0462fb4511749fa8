"""Weights averaged over the last part of a training (Polyak & Juditsky, 1992; Merity, Keskar & Socher, ICLR 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Averaged:
    """The mean of the weights since the validation score ceased to grow (a non-monotone rule).

    Args:
        parameters: the weights that an optimiser moves.
        window: averaging begins when a score is below the best of those before the last ``window`` epochs.

    Attributes:
        count: steps that are averaged; 0 while averaging has not begun.
        begun: whether it has.
    """

    def __init__(self, parameters: Sequence[Tensor], window: int) -> None:
        self.parameters, self.window = list(parameters), window
        self.count = 0
        self.begun = False
        self._scores: list[float] = []
        self._means: list[Tensor] = []

    def judge(self, score: float) -> None:
        """Take note of the score of an epoch; larger is better."""
        if not self.begun:
            earlier = self._scores[: -self.window]
            self.begun = bool(earlier) and score < max(earlier)
            self._scores.append(score)

    @torch.no_grad()
    def add(self) -> None:
        """Take note of a step of the optimiser."""
        if self.begun:
            self.count += 1
            if self.count == 1:
                self._means = [p.detach().clone() for p in self.parameters]
            for mean, p in zip(self._means, self.parameters, strict=True):
                mean.add_(p - mean, alpha=1 / self.count)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The means stand in the place of the weights inside, once there are some."""
        if not self.count:
            yield
            return
        own = [p.detach().clone() for p in self.parameters]
        self._copy(self._means)
        try:
            yield
        finally:
            self._copy(own)

    @torch.no_grad()
    def _copy(self, values: Sequence[Tensor]) -> None:
        for p, value in zip(self.parameters, values, strict=True):
            p.copy_(value)
