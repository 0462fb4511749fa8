"""Gradient-boosted trees on architecture features, from scikit-learn or LightGBM."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphnas.errors import GraphnasError, unknown
from graphnas.space import Space
from predictors.feature_predictor import FeaturePredictor, make_features
from predictors.features import Features
from predictors.trees import Trees

BACKENDS = ("scikit-learn", "lightgbm")
_MAX_LEAVES = 1 << 10


class Boosting(FeaturePredictor):
    """Bagged gradient boosting (Friedman, 2001 and 2002; Breiman, 1996) on architecture features.

    Every member is boosted on a bootstrap sample of its own; the mean is that of the members, and the standard deviation
    is their spread. The fitted trees are plain arrays: prediction needs neither library, and files hold no pickle.

    Args:
        space: whose architectures it is for.
        features: "canonical" (Weisfeiler-Lehman counts and scalars of the canonical graph), "paths" (op path counts
            of the canonical graph), "adjacency" (its edges and ops), "one_hot" (the decisions as written), or several
            joined by a plus ("paths+adjacency").
        backend: "scikit-learn" (exact splits) or "lightgbm" (Ke et al., NeurIPS 2017: histograms; an extra).
        members: how many boosted models.
        rounds: trees of each.
        depth: of a tree, at most.
        learning_rate: factor of each tree.
        subsample: share of a member's sample that each tree is grown on, in (0, 1].
        max_features: share of the features that each split looks at, in (0, 1].
        min_leaf: least number of training architectures in a leaf.
        bootstrap: draw each member's sample with replacement; False gives all data to all.
        seed: fixes all random draws.

    Attributes:
        features_: the fitted feature map.
        trees_: the fitted trees.

    Raises:
        GraphnasError: an argument out of range; from ``fit`` also: LightGBM is not installed.
    """

    name = "boosting"

    def __init__(
        self,
        space: Space,
        features: str = "canonical",
        backend: str = "scikit-learn",
        members: int = 8,
        rounds: int = 100,
        depth: int = 6,
        learning_rate: float = 0.1,
        subsample: float = 0.8,
        max_features: float = 0.2,
        min_leaf: int = 1,
        bootstrap: bool = True,
        seed: int = 0,
    ) -> None:
        make_features(features, space)
        if backend not in BACKENDS:
            raise unknown("backend of boosting", backend, BACKENDS)
        if min(members, rounds, depth, min_leaf) < 1:
            raise GraphnasError(
                "boosting needs members, rounds, depth and min_leaf of at least 1, "
                f"not {members}, {rounds}, {depth} and {min_leaf}"
            )
        if not (learning_rate > 0 and 0 < subsample <= 1 and 0 < max_features <= 1):
            raise GraphnasError(
                "boosting needs learning_rate > 0 and subsample and max_features in (0, 1], "
                f"not {learning_rate}, {subsample} and {max_features}"
            )
        self.space = space
        self.features = features
        self.backend = backend
        self.members = members
        self.rounds = rounds
        self.depth = depth
        self.learning_rate = learning_rate
        self.subsample = subsample
        self.max_features = max_features
        self.min_leaf = min_leaf
        self.bootstrap = bootstrap
        self.seed = seed

    def _make_features(self) -> Features:
        return make_features(self.features, self.space)

    def _learn(self, x: np.ndarray, scores: np.ndarray) -> None:
        # Boosted at unit scale: what the libraries count as no gain does not depend on the unit of the scores then.
        centre, scale = float(scores.mean()), float(scores.std())
        targets = (scores - centre) / scale
        boosted = []
        for model, rows in self._models(len(x)):
            model.fit(x[rows], targets[rows])
            boosted.append(_of_lightgbm(model) if self.backend == "lightgbm" else _of_sklearn(model))
        trees = Trees.join(boosted)
        self.trees_, self.unit_ = trees, np.array([centre, scale])

    def _models(self, n: int) -> list[tuple[Any, np.ndarray]]:
        """The unfitted models, and the training rows of each."""
        make = _lightgbm if self.backend == "lightgbm" else _sklearn
        made = []
        for member in range(self.members):
            rng = np.random.default_rng([self.seed, member])
            rows = rng.integers(n, size=n) if self.bootstrap else np.arange(n)
            made.append((make(self, int(rng.integers(1 << 31))), rows))
        return made

    def _evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = self.trees_.predict(x)
        return self.unit_[0] + self.unit_[1] * mean, self.unit_[1] * std

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {**self.trees_.arrays(), **self.features_.arrays(), "unit": self.unit_}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.features_ = self._make_features()
        self.features_.set_arrays(arrays)
        self.trees_ = Trees.of_arrays(arrays)
        self.trees_.check(self.features_.width)
        self.unit_ = arrays["unit"]
        if self.unit_.shape != (2,) or self.unit_.dtype != np.float64 or not np.isfinite(self.unit_).all():
            raise ValueError("the unit of the scores is no pair of numbers")


def _sklearn(boosting: Boosting, seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingRegressor

    return GradientBoostingRegressor(
        n_estimators=boosting.rounds,
        learning_rate=boosting.learning_rate,
        max_depth=boosting.depth,
        subsample=boosting.subsample,
        max_features=boosting.max_features,
        min_samples_leaf=boosting.min_leaf,
        random_state=seed,
    )


def _of_sklearn(model: Any) -> Trees:
    """The trees of a fitted GradientBoostingRegressor as one member; the first one carries the constant."""
    start = float(model.init_.constant_[0, 0])
    trees = [estimator.tree_ for estimator in model.estimators_[:, 0]]
    rate = model.learning_rate
    return Trees.join([Trees.of_sklearn(t, rate, 0.0 if i else start) for i, t in enumerate(trees)], add=True)


def _lightgbm(boosting: Boosting, seed: int) -> Any:
    try:
        library = importlib.import_module("lightgbm")
    except ImportError:
        raise GraphnasError("LightGBM is not installed: pip install 'graphnas[lightgbm]'") from None
    return library.LGBMRegressor(
        n_estimators=boosting.rounds,
        learning_rate=boosting.learning_rate,
        max_depth=boosting.depth,
        num_leaves=min(2**boosting.depth, _MAX_LEAVES),
        subsample=boosting.subsample,
        subsample_freq=1,
        colsample_bynode=boosting.max_features,
        min_child_samples=boosting.min_leaf,
        min_data_in_bin=1,
        use_missing=False,
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        n_jobs=1,
        verbose=-1,
    )


def _of_lightgbm(model: Any) -> Trees:
    """The trees of a fitted LGBMRegressor as one member."""
    trees = [_of_dump(tree["tree_structure"]) for tree in model.booster_.dump_model()["tree_info"]]
    return Trees.join(trees, add=True)


def _of_dump(root: Mapping[str, Any]) -> Trees:
    """One tree of LightGBM's dump; parents come before their children."""
    nodes: list[Mapping[str, Any]] = [root]
    left, right = [], []
    for node in nodes:  # it grows meanwhile
        inner = "split_feature" in node
        left.append(len(nodes) if inner else -1)
        right.append(len(nodes) + 1 if inner else -1)
        if inner:
            nodes += node["left_child"], node["right_child"]
    return Trees.of_nodes(
        np.array(left),
        np.array(right),
        np.array([n.get("split_feature", -1) for n in nodes]),
        np.array([n.get("threshold", 0.0) for n in nodes], dtype=np.float64),
        np.array([n.get("leaf_value", 0.0) for n in nodes], dtype=np.float64),
    )
