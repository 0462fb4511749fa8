"""The members of a mixture that read descriptors of graphs alone: a Gaussian process and randomised trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from predictors.descriptors import Groups
from predictors.gaussian_process import GaussianProcess
from predictors.kernel import in_order
from predictors.trees import Trees

_SHARE = 0.3


class DescriptorMembers:
    """A Gaussian process and extremely randomised trees (Geurts et al., Machine Learning 2006); either may be absent.

    Each tree is grown to the end on all data; every split looks at 3 of 10 columns of all groups.

    Args:
        kernel: there is a process.
        trees: how many trees, 0 for none.
        centres: of the priors of the process's weights, one for each group.
        seed: fixes all random draws.

    Attributes:
        process_: the fitted GaussianProcess or None.
        trees_: the fitted Trees or None.
    """

    def __init__(self, kernel: bool, trees: int, centres: Sequence[float], seed: int) -> None:
        self.kernel = kernel
        self.trees = trees
        self.centres = centres
        self.seed = seed

    def __len__(self) -> int:
        return self.kernel + (self.trees > 0)

    def fit(self, groups: Groups, y: np.ndarray) -> DescriptorMembers:
        """Learn from groups of n rows and targets ``[n]``; what was learned before is forgotten."""
        self.process_: GaussianProcess | None = None
        self.trees_: Trees | None = None
        if self.kernel:
            rng = np.random.default_rng(self.seed)
            self.process_ = GaussianProcess(centres=self.centres).fit(in_order(groups), y, rng)
        if self.trees:
            from sklearn.ensemble import ExtraTreesRegressor

            model = ExtraTreesRegressor(self.trees, max_features=_SHARE, random_state=self.seed, n_jobs=1)
            grown = model.fit(_side_by_side(groups), y).estimators_
            self.trees_ = Trees.join([Trees.of_sklearn(tree.tree_) for tree in grown])
        return self

    def predict(self, groups: Groups) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation by process and trees, ``[len(self), n]`` each."""
        said = []
        if self.process_ is not None:
            said.append(self.process_.predict(in_order(groups)))
        if self.trees_ is not None:
            said.append(self.trees_.predict(_side_by_side(groups)))
        shape = len(said), len(next(iter(groups.values())))
        means, spread = (np.reshape([part[i] for part in said], shape) for i in range(2))
        return means, spread

    def arrays(self) -> dict[str, np.ndarray]:
        """What was learned, for a file."""
        process = {} if self.process_ is None else self.process_.arrays()
        return process if self.trees_ is None else {**process, **self.trees_.arrays()}

    def set_arrays(self, arrays: Mapping[str, np.ndarray], widths: Sequence[int]) -> None:
        """The inverse of ``arrays`` for groups of these widths (KeyError or ValueError when they are damaged)."""
        self.process_ = self.trees_ = None
        if self.kernel:
            self.process_ = GaussianProcess(centres=self.centres)
            self.process_.set_arrays(arrays, widths)
        if self.trees:
            self.trees_ = Trees.of_arrays(arrays)
            self.trees_.check(sum(widths))


def _side_by_side(groups: Groups) -> np.ndarray:
    """What the trees read: all columns, ``[n, width]`` (float32)."""
    return np.concatenate(in_order(groups), axis=1).astype(np.float32)
