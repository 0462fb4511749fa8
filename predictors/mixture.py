"""A mixture of predictors of different kinds, on the scale of normal scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphnas.metrics import normal_scores
from predictors.ranks import Increasing

_SUM = 1e-9


@dataclass(frozen=True)
class Mixture:
    """A weighted mean of members, each put to the normal scores of its ranks on reference architectures.

    So no member counts for more because its unit is larger, and none for less because it hardly dares to say anything.

    Attributes:
        scales: the map of each of M members to normal scores.
        weights: ``[M]``, at least 0, with sum 1.
    """

    scales: tuple[Increasing, ...]
    weights: np.ndarray

    @classmethod
    def of_reference(cls, values: np.ndarray, weights: np.ndarray) -> Mixture:
        """For members that say ``values [M, n]`` about the reference architectures."""
        return cls(tuple(Increasing.matching(row, normal_scores(row)) for row in values), weights)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """What the members say, ``[M, n]``, in normal scores."""
        return np.stack([scale(row) for scale, row in zip(self.scales, values, strict=True)])

    def __call__(self, values: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation ``[n]`` of the mixture, where the members have the means and deviations ``[M, n]``."""
        means = self.scaled(values)
        deviations = (self.scaled(values + spread) - self.scaled(values - spread)) / 2
        mean = self.weights @ means
        return mean, np.sqrt(self.weights @ (np.square(deviations) + np.square(means - mean)))

    def arrays(self) -> dict[str, np.ndarray]:
        """The mixture, for a file."""
        made = {"mixture.weights": self.weights}
        for number, scale in enumerate(self.scales):
            made.update(scale.arrays(f"mixture.scale{number}"))
        return made

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], members: int) -> Mixture:
        """The inverse of ``arrays`` (KeyError or ValueError when they are damaged)."""
        weights = arrays["mixture.weights"]
        if weights.shape != (members,) or weights.dtype != np.float64 or not np.isfinite(weights).all():
            raise ValueError("the weights of the mixture have a wrong shape or are not finite")
        if (weights < 0).any() or abs(weights.sum() - 1) > _SUM:
            raise ValueError("the weights of the mixture do not sum to 1")
        return cls(tuple(Increasing.of_arrays(arrays, f"mixture.scale{i}") for i in range(members)), weights)
