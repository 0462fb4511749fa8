"""What predictors have in common that read one vector for each architecture."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from graphnas.architecture import Architecture
from graphnas.encoding.forms import canonical_forms, classes_of
from graphnas.errors import GraphnasError, unknown
from graphnas.predictor import Prediction, Predictor
from graphnas.space import Space
from predictors.counted import Canonical, Paths
from predictors.features import Adjacency, Features, Joined, OneHot

_ROWS = 4096

FEATURES: dict[str, type[Features]] = {
    "adjacency": Adjacency,
    "canonical": Canonical,
    "one_hot": OneHot,
    "paths": Paths,
}


def make_features(names: str, space: Space) -> Features:
    """The feature map of this name, or of several joined by a plus, such as "paths+adjacency".

    Raises:
        GraphnasError: an unknown name, or one that occurs twice.
    """
    chosen = names.split("+")
    for name in chosen:
        if name not in FEATURES:
            raise unknown("features", name, FEATURES)
    if len(set(chosen)) < len(chosen):
        raise GraphnasError(f"the features {names!r} name one map twice; name each once")
    parts = [FEATURES[name](space) for name in chosen]
    return parts[0] if len(parts) == 1 else Joined(parts)


class FeaturePredictor(Predictor):
    """Learns scores from a feature map, which is fitted on the training set; equal canonical forms are predicted once.

    A subclass implements ``_make_features``, ``_learn`` and ``_evaluate`` beside what files need.

    Attributes:
        features_: the fitted feature map.
    """

    features_: Features

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        features = self._make_features()
        forms = canonical_forms(self.space, architectures) if features.canonical else architectures
        features.fit(forms)
        self._learn(features.transform(forms), scores)
        self.features_ = features

    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        if not self.features_.canonical:
            return Prediction(*self._in_pieces(architectures))
        forms, member = classes_of(self.space, architectures)
        mean, std = self._in_pieces(forms)
        return Prediction(mean[member], std[member])

    def _in_pieces(self, forms: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and std, for 4,096 rows of features at a time."""
        starts = range(0, len(forms), _ROWS)
        parts = [self._evaluate(self.features_.transform(forms[i : i + _ROWS])) for i in starts]
        return np.concatenate([mean for mean, _ in parts]), np.concatenate([std for _, std in parts])

    @abstractmethod
    def _make_features(self) -> Features:
        """The feature map, not fitted yet."""

    @abstractmethod
    def _learn(self, x: np.ndarray, scores: np.ndarray) -> None:
        """Learn from features ``[n, F]`` (float32) and scores ``[n]``."""

    @abstractmethod
    def _evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, each ``[n]``, at features ``[n, F]``."""
