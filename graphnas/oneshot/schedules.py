"""Numbers that change as a search goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[float], float]
"""A value for each progress in [0, 1], the part of the epochs that is over."""


@dataclass(frozen=True)
class Constant:
    """Always the same value."""

    value: float

    def __call__(self, progress: float) -> float:
        """The value."""
        return self.value


@dataclass(frozen=True)
class Linear:
    """From ``start`` to ``end`` in a straight line; ``start`` before ``begin``."""

    start: float
    end: float
    begin: float = 0.0

    def __call__(self, progress: float) -> float:
        """The value at this progress."""
        return self.start + (self.end - self.start) * _part(progress, self.begin)


@dataclass(frozen=True)
class Cosine:
    """From ``start`` to ``end`` along half a cosine (Loshchilov & Hutter, ICLR 2017); ``start`` before ``begin``."""

    start: float
    end: float
    begin: float = 0.0

    def __call__(self, progress: float) -> float:
        """The value at this progress."""
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * _part(progress, self.begin))) / 2


@dataclass(frozen=True)
class InverseRoot:
    """Up to ``peak`` in a straight line until ``warmup``, then down with one over the root (Vaswani et al., NeurIPS 2017).

    It is never below ``least`` times the peak, so that a search moves from its first step on.
    """

    peak: float
    warmup: float
    least: float = 0.1

    def __call__(self, progress: float) -> float:
        """The value at this progress."""
        falling = math.sqrt(self.warmup / progress) if progress > 0 else 1.0
        return self.peak * max(self.least, min(progress / self.warmup, falling))


def _part(progress: float, begin: float) -> float:
    return min(1.0, max(0.0, (progress - begin) / (1 - begin)))


@dataclass(frozen=True)
class Clock:
    """Where a search is.

    Attributes:
        step: weight steps made, from 0.
        length: weight steps of an epoch.
        epochs: of the whole search.
    """

    step: int
    length: int
    epochs: int

    @property
    def epoch(self) -> int:
        """Epochs that are over."""
        return self.step // self.length

    @property
    def progress(self) -> float:
        """The part of the epochs that is over; it changes only between epochs, as the methods' schedules do."""
        return self.epoch / self.epochs
