"""A fitted tree ensemble as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

_ROWS = 4096
_LEAF = -1


@dataclass(frozen=True)
class Trees:
    """T regression trees with M nodes in all, one tree after the other.

    At an inner node a sample goes left if its feature, in single precision, is at most the threshold.

    Attributes:
        roots: ``[T]`` int32, first node of each tree.
        left, right: ``[M]`` int32, children by their place among the M nodes; -1 at leaves.
        feature: ``[M]`` int32, column that is compared; -1 at leaves.
        threshold: ``[M]`` float64.
        value: ``[M]`` float64, what the tree predicts at a leaf.
    """

    roots: np.ndarray
    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    value: np.ndarray

    @classmethod
    def of_sklearn(cls, model: Any) -> Trees:
        """The trees of a fitted scikit-learn forest of one target."""
        trees = [estimator.tree_ for estimator in model.estimators_]
        first = np.cumsum([0, *[tree.node_count for tree in trees]])

        def children(side: str) -> np.ndarray:
            parts = [getattr(tree, side) for tree in trees]
            moved = [np.where(part < 0, _LEAF, part + start) for part, start in zip(parts, first, strict=False)]
            return np.concatenate(moved).astype(np.int32)

        left = children("children_left")
        return cls(
            roots=first[:-1].astype(np.int32),
            left=left,
            right=children("children_right"),
            feature=np.where(left < 0, _LEAF, np.concatenate([tree.feature for tree in trees])).astype(np.int32),
            threshold=np.concatenate([tree.threshold for tree in trees]),
            value=np.concatenate([tree.value[:, 0, 0] for tree in trees]),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """All fields, for a file."""
        return {f"trees.{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Trees:
        """The inverse of ``arrays``; see ``check`` for arrays that come from a file."""
        return cls(**{field.name: arrays[f"trees.{field.name}"] for field in fields(cls)})

    def check(self, width: int) -> None:
        """Make sure that no sample of ``width`` features can leave the arrays or walk for ever.

        Raises:
            ValueError: naming the rule that is broken.
        """
        nodes = len(self.left)
        for array, kind in zip(self.arrays().values(), "iiiiff", strict=True):
            if array.ndim != 1 or array.dtype.kind != kind or (array is not self.roots and len(array) != nodes):
                raise ValueError("a tree array has the wrong type or length")
        if not len(self.roots) or np.any((self.roots < 0) | (self.roots >= nodes)):
            raise ValueError("a tree has no root")
        leaf = self.left < 0
        at = np.arange(nodes)
        for child in (self.left, self.right):
            # Children stand behind their parent, so every walk ends.
            if np.any((child < 0) != leaf) or np.any(~leaf & ((child <= at) | (child >= nodes))):
                raise ValueError("a tree has a child that is not behind its parent")
        if np.any(~leaf & ((self.feature < 0) | (self.feature >= width))):
            raise ValueError("a tree compares a feature that does not exist")
        if not (np.all(np.isfinite(self.value)) and np.all(np.isfinite(self.threshold))):
            raise ValueError("a tree has a value that is not finite")

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the trees, each ``[n]``, for features ``[n, F]``."""
        x = np.asarray(x, dtype=np.float32)
        mean, std = np.empty(len(x)), np.empty(len(x))
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            values = self._leaf_values(x[rows])
            mean[rows] = values.mean(axis=0)
            std[rows] = values.std(axis=0)
        return mean, std

    def _leaf_values(self, x: np.ndarray) -> np.ndarray:
        """What each tree says, ``[T, n]``; all walks go down one level at a time, and those at a leaf drop out."""
        n = len(x)
        flat = x.reshape(-1)
        at = np.repeat(self.roots.astype(np.int64), n)
        offset = np.tile(np.arange(n, dtype=np.int64) * x.shape[1], len(self.roots))
        walking = np.flatnonzero(self.left[at] >= 0)
        while len(walking):
            here = at[walking]
            goes_left = flat[offset[walking] + self.feature[here]] <= self.threshold[here]
            after = np.where(goes_left, self.left[here], self.right[here])
            at[walking] = after
            walking = walking[self.left[after] >= 0]
        return np.asarray(self.value[at].reshape(len(self.roots), n))
