"""Random forests: the predictor that needs no tuning and no GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphnas.errors import GraphnasError
from graphnas.space import Space
from predictors.feature_predictor import FeaturePredictor, make_features
from predictors.features import Features
from predictors.trees import Trees


class RandomForest(FeaturePredictor):
    """Random forest (Breiman, 2001) or extremely randomised trees (Geurts et al., 2006) on architecture features.

    The mean is that of the trees, and the standard deviation is their spread. The fitted trees are plain arrays:
    prediction needs no scikit-learn, and files hold no pickle.

    Args:
        space: whose architectures it is for.
        features: "canonical" (Weisfeiler-Lehman counts and scalars of the canonical graph), "paths" (op path counts
            of the canonical graph), "adjacency" (its edges and ops), "one_hot" (the decisions as written), or several
            joined by a plus.
        trees: how many.
        extra: extremely randomised trees on all data instead of a random forest on bootstrap samples.
        max_features: share of the features that each split looks at, in (0, 1].
        min_leaf: least number of training architectures in a leaf.
        seed: fixes all random draws.

    Attributes:
        features_: the fitted feature map.
        trees_: the fitted trees.

    Raises:
        GraphnasError: an argument out of range.
    """

    name = "random_forest"

    def __init__(
        self,
        space: Space,
        features: str = "canonical",
        trees: int = 300,
        extra: bool = True,
        max_features: float = 0.2,
        min_leaf: int = 1,
        seed: int = 0,
    ) -> None:
        make_features(features, space)
        if trees < 1 or min_leaf < 1 or not 0 < max_features <= 1:
            raise GraphnasError(
                "a forest needs trees >= 1, min_leaf >= 1 and 0 < max_features <= 1, "
                f"not {trees}, {min_leaf} and {max_features}"
            )
        self.space = space
        self.features = features
        self.trees = trees
        self.extra = extra
        self.max_features = max_features
        self.min_leaf = min_leaf
        self.seed = seed

    def _make_features(self) -> Features:
        return make_features(self.features, self.space)

    def _learn(self, x: np.ndarray, scores: np.ndarray) -> None:
        grown = self._ensemble().fit(x, scores).estimators_
        self.trees_ = Trees.join([Trees.of_sklearn(tree.tree_) for tree in grown])

    def _ensemble(self) -> Any:
        """The unfitted scikit-learn model."""
        from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

        kind = ExtraTreesRegressor if self.extra else RandomForestRegressor
        return kind(
            n_estimators=self.trees,
            max_features=self.max_features,
            min_samples_leaf=self.min_leaf,
            random_state=self.seed,
            n_jobs=1,
        )

    def _evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.trees_.predict(x)

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {**self.trees_.arrays(), **self.features_.arrays()}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.features_ = self._make_features()
        self.features_.set_arrays(arrays)
        self.trees_ = Trees.of_arrays(arrays)
        self.trees_.check(self.features_.width)
