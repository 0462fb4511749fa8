"""What a strategy that learns has been told: labels by key, the best of them, and when to fit again."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.metrics import normal_scores
from graphnas.space import Decisions, Space
from graphnas.strategies.base import Trial


def clipped(scores: np.ndarray) -> np.ndarray:
    """Scores ``[n]``, but none further below the median than twice the distance from there to the best.

    How bad the bad ones are says little about the top, and it would rule a squared error.
    """
    middle, best = np.median(scores), scores.max()
    return np.asarray(np.maximum(scores, middle - 2 * (best - middle))) if best > middle else scores


TARGETS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "scores": np.asarray,
    "clipped": clipped,
    "ranks": normal_scores,
}
"""What a learner is fitted to, from the scores ``[n]`` of the labels; all keep the order."""


class Labels:
    """Scored architectures, one for each key, in the order of their telling; failed ones are only remembered as known.

    Telling costs O(log n) and asking O(1), whatever the number of trials.

    Args:
        space: whose architectures they are.
        keep: how many of the best are kept at hand.
    """

    def __init__(self, space: Space, keep: int) -> None:
        self.space = space
        self.keep = keep
        self._clear()

    def _clear(self) -> None:
        self.architectures: list[Architecture] = []
        self.scores: list[float] = []
        self._known: dict[str, bool] = {}  # key -> whether it has a score
        self._best: list[tuple[float, int]] = []  # (-score, number), ascending

    def __len__(self) -> int:
        return len(self.scores)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    @property
    def told(self) -> int:
        """Number of known keys, failed ones included."""
        return len(self._known)

    @property
    def best(self) -> list[Architecture]:
        """At most ``keep`` architectures, best first; of equal scores the earlier."""
        return [self.architectures[i] for _, i in self._best]

    @property
    def best_score(self) -> float:
        """The greatest score."""
        return -self._best[0][0]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Take note; a key that has a score keeps its first one."""
        for trial in trials:
            self._add(trial.architecture, self.space.key(trial.architecture), trial.score)

    def _add(self, architecture: Architecture, key: str, score: float) -> None:
        scored = bool(np.isfinite(score))
        if self._known.get(key) or (key in self._known and not scored):
            return
        self._known[key] = scored
        if not scored:
            return
        self.architectures.append(architecture)
        self.scores.append(score)
        bisect.insort(self._best, (-score, len(self.scores) - 1))
        del self._best[self.keep :]

    def learnable(self, count: int) -> bool:
        """Whether the first ``count`` labels tell architectures apart."""
        return count >= 2 and min(self.scores[:count]) < max(self.scores[:count])

    def state(self) -> dict[str, Any]:
        """All labels and the failed keys, as JSON values."""
        encode = self.space.encode
        failed = [key for key, scored in self._known.items() if not scored]
        pairs = zip(self.architectures, self.scores, strict=True)
        return {"labels": [[list(encode(a)), score] for a, score in pairs], "failed": failed}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        self._clear()
        for made, score in state["labels"]:
            decisions: Decisions = tuple(made)
            architecture = self.space.decode(decisions)
            self._add(architecture, self.space.key(architecture), score)
        self._known.update(dict.fromkeys(state["failed"], False))
