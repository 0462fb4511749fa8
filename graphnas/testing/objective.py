"""A synthetic objective on any space, for trying strategies without a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.space import Space


class AdditiveEstimator(Estimator):
    """The sum of one fixed random weight for each decision, standard normal before the sum.

    Args:
        space: any space.
        seed: fixes the weights.
        failing: one in this many architectures (by its key) raises GraphnasError; 0 for none.
        batch: how many architectures a Search asks for at a time.
    """

    name = "additive"
    cheap = True

    def __init__(self, space: Space, seed: int = 0, failing: int = 0, batch: int = 1) -> None:
        self.space = space
        self.seed = seed
        self.failing = failing
        self.batch = batch
        rng = np.random.default_rng(seed)
        self.weights: Sequence[Sequence[float]] = [rng.normal(size=radix).tolist() for radix in space.radices]

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        """The sum of the weights of the decisions; the seed changes nothing.

        Raises:
            GraphnasError: for the architectures that ``failing`` selects.
        """
        if self.failing and int(self.space.key(architecture), 16) % self.failing == 0:
            raise GraphnasError(f"this synthetic objective fails for one architecture in {self.failing}")
        decisions = self.space.encode(architecture)
        return Evaluation(sum(row[d] for row, d in zip(self.weights, decisions, strict=True)))

    def describe(self) -> dict[str, Any]:
        """Settings, as JSON values."""
        return {**super().describe(), "seed": self.seed, "failing": self.failing}
