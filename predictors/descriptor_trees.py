"""Extremely randomised trees on the descriptions of canonical graphs."""

from __future__ import annotations

import numpy as np

from predictors.descriptors import Groups
from predictors.kernel import in_order
from predictors.trees import Trees

_SHARE = 0.3


def grow_trees(groups: Groups, y: np.ndarray, trees: int, seed: int) -> Trees:
    """Trees for targets ``[n]`` (Geurts et al., Machine Learning 2006), each on all data and grown to the end.

    Every split looks at 3 of 10 columns of all groups; ``tree_inputs`` makes what the trees read.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(n_estimators=trees, max_features=_SHARE, random_state=seed, n_jobs=1)
    grown = model.fit(tree_inputs(groups), y).estimators_
    return Trees.join([Trees.of_sklearn(tree.tree_) for tree in grown])


def tree_inputs(groups: Groups) -> np.ndarray:
    """All columns of the groups side by side, ``[n, width]`` (float32)."""
    return np.concatenate(in_order(groups), axis=1).astype(np.float32)
