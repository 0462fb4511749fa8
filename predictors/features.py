"""Feature maps for predictors that want one vector for each architecture; fitted on the training set."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from graphnas.architecture import Architecture
from graphnas.encoding.flat import one_hot
from graphnas.encoding.paths import op_paths
from graphnas.encoding.substructures import colours, statistics, statistics_names
from graphnas.space import Space

ROUNDS = 2
MAX_COLUMNS = 4096


class Features(ABC):
    """A map from architectures to features ``[n, width]`` (float32).

    Attributes:
        canonical: it wants canonical forms; otherwise architectures as they are written.
        width: number of features, once fitted.
    """

    canonical: ClassVar[bool] = True
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


class OneHot(Features):
    """The one-hot decisions; nothing is fitted."""

    canonical = False

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self.width = sum(space.radices)

    def fit(self, architectures: Sequence[Architecture]) -> None:
        """Nothing to settle."""

    def transform(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """One block for each Choice."""
        return one_hot(self.space, architectures)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Nothing."""
        return {}

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Nothing."""


class Canonical(Features):
    """Weisfeiler-Lehman colour counts after 0 to 2 rounds, and a few scalars (specific to no space).

    Columns are the colours of at least two training architectures, since one that only one has merely names it; the most
    frequent 4,096 at most. Other colours are not counted.
    """

    def fit(self, architectures: Sequence[Architecture]) -> None:
        """Take the colours that occur."""
        frequency: Counter[int] = Counter()
        for architecture in architectures:
            frequency.update(self._counts(architecture).keys())
        shared = [colour for colour, count in frequency.items() if count > 1]
        kept = sorted(shared, key=lambda colour: (-frequency[colour], colour))[:MAX_COLUMNS]
        self._settle(np.sort(np.array(kept, dtype=np.int64)))

    def _settle(self, kept: np.ndarray) -> None:
        self.colours_ = kept
        self.column_ = {colour: i for i, colour in enumerate(kept.tolist())}
        self.width = len(kept) + len(statistics_names(self.space))

    def _counts(self, architecture: Architecture) -> Counter[int]:
        rounds = colours(architecture.nodes, ROUNDS, self.space.semantics.ordered_ops)
        return Counter([colour for row in rounds for colour in row])

    def transform(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Colour counts, then scalars."""
        rows: list[int] = []
        columns: list[int] = []
        counts: list[int] = []
        column = self.column_
        for row, architecture in enumerate(architectures):
            for colour, count in self._counts(architecture).items():
                if colour in column:
                    rows.append(row)
                    columns.append(column[colour])
                    counts.append(count)
        features = np.zeros((len(architectures), self.width), dtype=np.float32)
        features[rows, columns] = counts
        features[:, len(column) :] = statistics(self.space, architectures)
        return features

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The colours."""
        return {"features.colours": self.colours_}

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the colours of a file."""
        kept = arrays["features.colours"]
        if kept.dtype != np.int64 or kept.ndim != 1 or np.any(np.diff(kept) <= 0):
            raise ValueError("the colours are not a sorted list of integers")
        self._settle(kept)


class Paths(Features):
    """Counts of the op paths that occur in the training set, the most frequent 4,096 at most."""

    def fit(self, architectures: Sequence[Architecture]) -> None:
        """Take the paths that occur."""
        frequency: Counter[str] = Counter()
        for architecture in architectures:
            frequency.update(self._counts(architecture).keys())
        self._settle(sorted(frequency, key=lambda path: (-frequency[path], path))[:MAX_COLUMNS])

    def _settle(self, paths: list[str]) -> None:
        self.column_ = {path: i for i, path in enumerate(paths)}
        self.width = len(paths)

    def _counts(self, architecture: Architecture) -> dict[str, int]:
        counts = op_paths(architecture.nodes, self.space.semantics.merge_ops)
        return {repr(path): count for path, count in counts.items()}

    def transform(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """How often each path occurs."""
        features = np.zeros((len(architectures), self.width), dtype=np.float32)
        for row, architecture in enumerate(architectures):
            for path, count in self._counts(architecture).items():
                if path in self.column_:
                    features[row, self.column_[path]] = min(count, 1 << 53)
        return features

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The paths, as JSON text."""
        return {"features.paths": np.array(json.dumps(list(self.column_)))}

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the paths of a file."""
        paths = json.loads(str(arrays["features.paths"]))
        if not isinstance(paths, list) or not all(isinstance(p, str) for p in paths) or len(set(paths)) < len(paths):
            raise ValueError("the paths are not a list of distinct texts")
        self._settle(paths)


FEATURES: dict[str, type[Features]] = {"canonical": Canonical, "one_hot": OneHot, "paths": Paths}
