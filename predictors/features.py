"""Feature maps for predictors that want one vector for each architecture; fitted on the training set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from graphnas.architecture import Architecture
from graphnas.encoding.flat import adjacency_encoding, one_hot
from graphnas.encoding.forms import canonical_forms
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.space import Space


class Features(ABC):
    """A map from architectures to features ``[n, width]`` (float32).

    Attributes:
        canonical: it wants canonical forms; otherwise architectures as they are written.
        width: number of features, once fitted.
    """

    canonical: bool = True
    width: int

    def __init__(self, space: Space) -> None:
        self.space = space

    @abstractmethod
    def fit(self, architectures: Sequence[Architecture]) -> None:
        """Settle the columns on a training set."""

    @abstractmethod
    def transform(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Features ``[n, width]`` of architectures."""

    @abstractmethod
    def arrays(self) -> Mapping[str, np.ndarray]:
        """What was fitted, for a file."""

    @abstractmethod
    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of ``arrays`` (ValueError or KeyError when they are damaged)."""


class Fixed(Features):
    """A map whose columns are known beforehand: nothing is fitted."""

    def fit(self, architectures: Sequence[Architecture]) -> None:
        """Nothing to settle."""

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Nothing."""
        return {}

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Nothing."""


class OneHot(Fixed):
    """The one-hot decisions."""

    canonical = False

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self.width = sum(space.radices)

    def transform(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """One block for each Choice."""
        return one_hot(self.space, architectures)


class Adjacency(Fixed):
    """Edges and ops of the canonical graph, vertices in their canonical order."""

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        nodes, tokens = vocabulary_of(space).max_nodes, len(vocabulary_of(space))
        self.width = nodes * (nodes - 1) // 2 + nodes * tokens

    def transform(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """The adjacency encoding."""
        return adjacency_encoding(self.space, architectures, canonical=False)  # they are canonical already


class Joined(Features):
    """The columns of several maps side by side."""

    def __init__(self, parts: Sequence[Features]) -> None:
        super().__init__(parts[0].space)
        self.parts = parts
        self.canonical = all(part.canonical for part in parts)

    def fit(self, architectures: Sequence[Architecture]) -> None:
        """Settle the columns of every part."""
        for part in self.parts:
            part.fit(self._seen_by(part, architectures))
        self.width = sum(part.width for part in self.parts)

    def transform(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """All columns."""
        return np.concatenate([part.transform(self._seen_by(part, architectures)) for part in self.parts], axis=1)

    def _seen_by(self, part: Features, architectures: Sequence[Architecture]) -> Sequence[Architecture]:
        wants_forms = part.canonical and not self.canonical
        return canonical_forms(self.space, architectures) if wants_forms else architectures

    def arrays(self) -> Mapping[str, np.ndarray]:
        """What every part has fitted; their names differ, as no part occurs twice."""
        return {name: array for part in self.parts for name, array in part.arrays().items()}

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Every part takes its own."""
        for part in self.parts:
            part.set_arrays(arrays)
        self.width = sum(part.width for part in self.parts)
