"""Proxy scores by cross-validation over families of designs.

A metric on a handful of held-out designs says more of these designs than of the architecture. A score here is the mean over folds: in
each, other families of the training and validation parts are held out, so that together they count once each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from eda.dataset import Dataset
from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.estimators.training import TrainingEstimator


def folds(dataset: Dataset, number: int, seed: int = 0) -> list[Dataset]:
    """The training and validation parts dealt anew ``number`` times, each family once in validation; without the test part.

    Args:
        dataset: with families enough.
        number: of folds; 1 keeps the parts as they are.
        seed: of the order in which families are dealt.

    Raises:
        GraphnasError: fewer than 1 fold, or more folds than families.
    """
    families = sorted({s.family for s in dataset if s.part != "test"})
    if not 1 <= number <= max(1, len(families)):
        raise GraphnasError(f"{number} folds of {len(families)} families cannot be made")
    if number == 1:
        kept = {s.design: s.part for s in dataset if s.part != "test"}
        return [dataset.with_parts(kept)]
    order = np.random.default_rng([seed, 11]).permutation(len(families)).tolist()
    made = []
    for fold in range(number):
        held = {families[i] for i in order[fold::number]}
        parts = {s.design: "validation" if s.family in held else "train" for s in dataset if s.part != "test"}
        made.append(dataset.with_parts(parts))
    return made


class FoldTraining(Estimator):
    """The mean over estimators that differ in their data alone.

    Args:
        estimators: one for each fold, on one space and by one metric.

    Raises:
        GraphnasError: no estimator.
    """

    name = "folds"
    batch = 8

    def __init__(self, estimators: Sequence[TrainingEstimator]) -> None:
        if not estimators:
            raise GraphnasError("cross-validation needs at least one fold")
        first = estimators[0]
        self.estimators = tuple(estimators)
        self.space, self.metric, self.maximise = first.space, first.metric, first.maximise

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        """Train on every fold from the same seed; the score is the mean, NaN where a training diverges."""
        made = [each.evaluate(architecture, seed=seed) for each in self.estimators]
        scores = [each.score for each in made]
        names = set.intersection(*(set(each.metrics) for each in made))
        metrics = {name: float(np.mean([each.metrics[name] for each in made])) for name in sorted(names)}
        if len(made) > 1:
            metrics["folds_std"] = float(np.std(scores, ddof=1))
        cost = sum(each.cost for each in made)
        return Evaluation(float(np.mean(scores)) if all(map(math.isfinite, scores)) else math.nan, metrics, cost)

    def describe(self) -> dict[str, Any]:
        """Settings that reproduce the estimates, as JSON values."""
        return {**super().describe(), "folds": [each.describe() for each in self.estimators]}
