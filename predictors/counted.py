"""Features that count what occurs in canonical graphs: Weisfeiler-Lehman colours, op paths."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from graphnas.architecture import Architecture
from graphnas.encoding.paths import Path, known_paths, op_paths
from graphnas.encoding.substructures import colours, statistics, statistics_names
from graphnas.space import Space
from predictors.features import Features

ROUNDS = 2
MAX_COLUMNS = 4096
_MOST = 1 << 53
_MEMO_LIMIT = 50_000


class Row(NamedTuple):
    """Things ``[k]`` (int64, distinct) with their counts (float32), and scalars, of one canonical form."""

    things: np.ndarray
    counts: np.ndarray
    scalars: np.ndarray


_memos: WeakKeyDictionary[Space, dict[str, dict[Architecture, Row]]] = WeakKeyDictionary()


class Counted(Features):
    """Counts of things that occur in canonical forms, those of the training set, and scalars behind them.

    Things are 64-bit numbers, the same in every process. What occurs in a form is worked out once in a process and kept.
    """

    kind: ClassVar[str]

    @abstractmethod
    def _describe(self, form: Architecture) -> tuple[Mapping[int, int], np.ndarray]:
        """How often each thing occurs, and the scalars."""

    @abstractmethod
    def _choose(self, forms: Sequence[Architecture]) -> Sequence[int]:
        """The things that get a column."""

    def fit(self, architectures: Sequence[Architecture]) -> None:
        """Take the things that occur."""
        self._settle(np.sort(np.array(list(self._choose(architectures)), dtype=np.int64)))

    def _settle(self, kept: np.ndarray) -> None:
        self.kept_ = kept
        self.width = len(kept) + self.scalars

    @property
    def scalars(self) -> int:
        """How many scalars there are."""
        return 0

    def transform(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Counts, then scalars; things without a column are not counted."""
        rows = [self._row(form) for form in architectures]
        things = np.concatenate([row.things for row in rows])
        column = np.searchsorted(self.kept_, things)
        known = np.flatnonzero(np.append(self.kept_, 0)[column] == things if len(self.kept_) else np.zeros(0, bool))
        number = np.repeat(np.arange(len(rows)), [len(row.things) for row in rows])
        features = np.zeros((len(rows), self.width), dtype=np.float32)
        features[number[known], column[known]] = np.concatenate([row.counts for row in rows])[known]
        features[:, len(self.kept_) :] = [row.scalars for row in rows]
        return features

    def _row(self, form: Architecture) -> Row:
        memo = _memos.setdefault(self.space, {}).setdefault(self.kind, {})
        found = memo.get(form)
        if found is None:
            if len(memo) >= _MEMO_LIMIT:
                memo.clear()
            counts, scalars = self._describe(form)
            things = np.fromiter(counts.keys(), np.int64, len(counts))
            found = memo[form] = Row(things, np.fromiter(counts.values(), np.float32, len(counts)), scalars)
        return found

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The things that have a column."""
        return {f"features.{self.kind}": self.kept_}

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the things of a file."""
        kept = arrays[f"features.{self.kind}"]
        if kept.dtype != np.int64 or kept.ndim != 1 or np.any(kept[1:] <= kept[:-1]):
            raise ValueError(f"the {self.kind} are not a sorted list of integers")
        self._settle(kept)


class Canonical(Counted):
    """Weisfeiler-Lehman colour counts after 0 to 2 rounds, and a few scalars (specific to no space).

    Columns are the colours of at least two training architectures, since one that only one has merely names it; the most
    frequent 4,096 at most.
    """

    kind = "colours"

    @property
    def scalars(self) -> int:
        """How many scalars there are."""
        return len(statistics_names(self.space))

    def _describe(self, form: Architecture) -> tuple[Mapping[int, int], np.ndarray]:
        rounds = colours(form.nodes, ROUNDS, self.space.semantics.ordered_ops)
        return Counter([colour for row in rounds for colour in row]), statistics(self.space, [form])[0]

    def _choose(self, forms: Sequence[Architecture]) -> Sequence[int]:
        frequency: Counter[int] = Counter()
        for form in forms:
            frequency.update(self._row(form).things.tolist())
        shared = [colour for colour, count in frequency.items() if count > 1]
        return sorted(shared, key=lambda colour: (-frequency[colour], colour))[:MAX_COLUMNS]


class Paths(Counted):
    """Op paths: those that occur in the training set, at most ``max_columns`` of them.

    Args:
        space: whose paths.
        indicator: 1 where a path exists, as BANANAS has it (White et al., AAAI 2021), instead of how often.
        max_columns: keep so many.
        keep: the most "frequent" or the "shortest".
    """

    kind = "paths"

    def __init__(
        self, space: Space, indicator: bool = False, max_columns: int = MAX_COLUMNS, keep: str = "frequent"
    ) -> None:
        super().__init__(space)
        self.indicator = indicator
        self.max_columns = max_columns
        self.keep = keep

    def _describe(self, form: Architecture) -> tuple[Mapping[int, int], np.ndarray]:
        paths = op_paths(form.nodes, self.space.semantics.merge_ops)
        return {_number(path): min(count, _MOST) for path, count in paths.items()}, np.empty(0)

    def _choose(self, forms: Sequence[Architecture]) -> Sequence[int]:
        return [_number(path) for path in known_paths(self.space, forms, self.max_columns, self.keep, canonical=False)]

    def transform(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Which paths occur, or how often."""
        features = super().transform(architectures)
        return np.minimum(features, 1) if self.indicator else features


def _number(path: Path) -> int:
    """A 64-bit number for a path, the same in every process."""
    return int.from_bytes(hashlib.blake2b(repr(path).encode(), digest_size=8).digest(), "little", signed=True)
