"""Strictly increasing maps from one unit to another, such as from scores to the normal scores of their ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_NEAR = 1e-9


@dataclass(frozen=True)
class Increasing:
    """A strictly increasing, piecewise linear map; beyond its knots it goes on with its mean slope.

    Attributes:
        source: ``[k]``, strictly increasing, k >= 1.
        target: ``[k]``, strictly increasing, the values at the knots.
        slope: beyond the knots, positive.
    """

    source: np.ndarray
    target: np.ndarray
    slope: float

    @classmethod
    def matching(cls, source: np.ndarray, target: np.ndarray) -> Increasing:
        """The map that takes the sorted sources to the sorted targets (equal ones of either merged to their mean)."""
        source, target = _merge(np.sort(source), np.sort(target))
        target, source = _merge(target, source)
        rise, run = np.ptp(target), np.ptp(source)
        return cls(source, target, float(rise / run) if rise > 0 and run > 0 else 1.0)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The values ``[n]`` in the target's unit."""
        inside = np.interp(values, self.source, self.target)
        below = np.minimum(values - self.source[0], 0)
        above = np.maximum(values - self.source[-1], 0)
        return np.asarray(inside + self.slope * (below + above))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The map as an array ``[2, k]`` and its slope, for a file."""
        return {f"{name}.knots": np.stack([self.source, self.target]), f"{name}.slope": np.array(self.slope)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], name: str) -> Increasing:
        """The inverse of ``arrays`` (KeyError or ValueError when they are damaged)."""
        knots, slope = arrays[f"{name}.knots"], arrays[f"{name}.slope"]
        if knots.ndim != 2 or len(knots) != 2 or not knots.shape[1] or knots.dtype != np.float64 or slope.shape != ():
            raise ValueError("the knots of a map have a wrong shape")
        if not np.isfinite(knots).all() or (np.diff(knots) <= 0).any() or not 0 < float(slope) < np.inf:
            raise ValueError("a map is not increasing")
        return cls(knots[0], knots[1], float(slope))


def _merge(keys: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as means over groups of (nearly) equal sorted keys."""
    starts = np.concatenate([[True], np.diff(keys) > _NEAR * np.ptp(keys)])
    group = np.cumsum(starts) - 1
    size = np.bincount(group)
    return np.bincount(group, keys) / size, np.bincount(group, others) / size
