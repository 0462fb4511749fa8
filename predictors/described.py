"""Descriptors whose columns are settled once, without labels, and whose rows are remembered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from graphnas.architecture import Architecture
from graphnas.space import Space
from predictors.descriptors import GROUPS, Descriptors, reference_forms

MOST = 30_000_000
"""How many numbers are remembered, at most."""


class Described:
    """The groups of fitted Descriptors for canonical forms, each worked out once.

    A search asks for most forms again and again: the neighbours of its best.

    Args:
        descriptors: fitted.

    Attributes:
        descriptors: as given.
        widths: number of columns of each group, in the order of ``GROUPS``.
    """

    def __init__(self, descriptors: Descriptors) -> None:
        self.descriptors = descriptors
        self.widths = [descriptors.mean_[name].size for name in GROUPS]
        self._ends = np.cumsum(self.widths)[:-1].tolist()
        self._forget()

    def _forget(self) -> None:
        self._place: dict[Architecture, int] = {}
        self._rows = np.empty((0, sum(self.widths)), dtype=np.float32)

    def rows(self, forms: Sequence[Architecture]) -> np.ndarray:
        """All columns ``[n, sum(widths)]`` (float32) of n distinct canonical forms."""
        missing = [form for form in forms if form not in self._place]
        if missing:
            if (len(self._place) + len(missing)) * self._rows.shape[1] > MOST:
                self._forget()
                missing = list(forms)
            self._remember(missing)
        place = self._place
        return self._rows[[place[form] for form in forms]]

    def split(self, rows: np.ndarray) -> list[np.ndarray]:
        """The groups ``[n, width]`` of rows, in the order of ``GROUPS``."""
        return np.split(rows, self._ends, axis=1)

    def _remember(self, forms: Sequence[Architecture]) -> None:
        groups = self.descriptors.transform(forms)
        first, last = len(self._place), len(self._place) + len(forms)
        if last > len(self._rows):
            grown = np.empty((max(last, 2 * len(self._rows)), self._rows.shape[1]), dtype=np.float32)
            grown[:first] = self._rows[:first]
            self._rows = grown
        self._rows[first:last] = np.concatenate([groups[name] for name in GROUPS], axis=1)
        self._place.update(zip(forms, range(first, last), strict=True))


@lru_cache(maxsize=4)
def settled(space: Space, reference: int, seed: int) -> Described:
    """Columns and scales of ``reference`` random architectures; the same object for the spaces that were used last."""
    descriptors = Descriptors(space)
    descriptors.fit(reference_forms(space, [], reference, np.random.default_rng(seed)))
    return Described(descriptors)
