"""Fitted tree ensembles as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

_ROWS = 256
_LEVELS = 3
_LEAF = -1


@dataclass(frozen=True)
class Trees:
    """E members of an ensemble, each a sum of regression trees: T trees with M nodes in all, one after the other.

    At an inner node a sample goes left if its feature, in single precision, is at most the threshold.

    Attributes:
        members: ``[E]`` int32, first tree of each member; the first is 0.
        roots: ``[T]`` int32, first node of each tree.
        left, right: ``[M]`` int32, children by their place among the M nodes; -1 at leaves.
        feature: ``[M]`` int32, column that is compared; -1 at leaves.
        threshold: ``[M]`` float64.
        value: ``[M]`` float64, what the tree adds at a leaf.
    """

    members: np.ndarray
    roots: np.ndarray
    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    value: np.ndarray

    @classmethod
    def of_nodes(
        cls, left: np.ndarray, right: np.ndarray, feature: np.ndarray, threshold: np.ndarray, value: np.ndarray
    ) -> Trees:
        """One member of one tree, whose root is node 0; leaves are the nodes with a negative left child."""
        leaf = left < 0
        places = [np.where(leaf, _LEAF, side).astype(np.int32) for side in (left, right, feature)]
        first, values = np.zeros(1, dtype=np.int32), np.asarray(value, dtype=np.float64)
        return cls(first, first, places[0], places[1], places[2], np.where(leaf, 0.0, threshold), values)

    @classmethod
    def of_sklearn(cls, tree: Any, scale: float = 1.0, shift: float = 0.0) -> Trees:
        """One tree of scikit-learn (a ``tree_``), whose values are scaled and shifted."""
        value = scale * tree.value[:, 0, 0] + shift
        return cls.of_nodes(tree.children_left, tree.children_right, tree.feature, tree.threshold, value)

    @classmethod
    def join(cls, parts: Sequence[Trees], *, add: bool = False) -> Trees:
        """All the trees of the parts, each part's members on their own; with ``add``, as one member that is their sum."""
        nodes = np.cumsum([0, *[len(part.left) for part in parts]])
        trees = np.cumsum([0, *[len(part.roots) for part in parts]])

        def moved(name: str, by: np.ndarray) -> np.ndarray:
            arrays = [getattr(part, name) for part in parts]
            moved = [np.where(array < 0, _LEAF, array + start) for array, start in zip(arrays, by, strict=False)]
            return np.concatenate(moved).astype(np.int32)

        return cls(
            members=np.zeros(1, dtype=np.int32) if add else moved("members", trees),
            roots=moved("roots", nodes),
            left=moved("left", nodes),
            right=moved("right", nodes),
            feature=np.concatenate([part.feature for part in parts]),
            threshold=np.concatenate([part.threshold for part in parts]),
            value=np.concatenate([part.value for part in parts]),
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
        for array, kind in zip(self.arrays().values(), "iiiiiff", strict=True):
            free = array is self.roots or array is self.members
            if array.ndim != 1 or array.dtype.kind != kind or (not free and len(array) != nodes):
                raise ValueError("a tree array has the wrong type or length")
        if not len(self.roots) or np.any((self.roots < 0) | (self.roots >= nodes)):
            raise ValueError("a tree has no root")
        starts = self.members
        if not len(starts) or starts[0] != 0 or np.any(np.diff(starts) < 1) or starts[-1] >= len(self.roots):
            raise ValueError("a member of the ensemble has no tree")
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
        """Mean and standard deviation over the members, each ``[n]``, for features ``[n, F]``."""
        values = self.member_values(x)
        return values.mean(axis=0), values.std(axis=0)

    def member_values(self, x: np.ndarray) -> np.ndarray:
        """What each member says, ``[E, n]``, for features ``[n, F]``."""
        x = np.ascontiguousarray(x, dtype=np.float32)
        walk = _Walk(self)
        parts = [np.add.reduceat(walk(x[i : i + _ROWS]), self.members, axis=0) for i in range(0, len(x), _ROWS)]
        return np.concatenate(parts, axis=1)


class _Walk:
    """Down all trees at once, level by level; a leaf is its own child, and walks that have ended are dropped now and then."""

    def __init__(self, trees: Trees) -> None:
        self.leaf = trees.left < 0
        here = np.arange(len(self.leaf))
        self.child = np.stack([np.where(self.leaf, here, side) for side in (trees.left, trees.right)], axis=1).reshape(
            -1
        )
        self.feature = np.where(self.leaf, 0, trees.feature).astype(np.int64)
        self.threshold = np.where(self.leaf, np.inf, trees.threshold)
        self.value = trees.value
        self.roots = trees.roots.astype(np.int64)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """What each tree says, ``[T, n]``, for a few rows of features: what is looked up must stay in the cache."""
        n, flat = len(x), x.reshape(-1)
        ends = np.repeat(self.roots, n)
        sample = np.tile(np.arange(n) * x.shape[1], len(self.roots))
        walking = np.flatnonzero(~self.leaf.take(ends))
        at, sample = ends[walking], sample[walking]
        while len(walking):
            for _ in range(_LEVELS):
                goes_right = flat.take(sample + self.feature.take(at)) > self.threshold.take(at)
                at = self.child.take(2 * at + goes_right)
            ends[walking] = at
            on = np.flatnonzero(~self.leaf.take(at))
            walking, at, sample = walking[on], at[on], sample[on]
        return np.asarray(self.value.take(ends).reshape(len(self.roots), n))
