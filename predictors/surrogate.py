"""The predictor for the inside of a search: fitted often, asked often, on few labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphnas.architecture import Architecture
from graphnas.encoding.forms import classes_of
from graphnas.errors import GraphnasError
from graphnas.predictor import Prediction, Predictor
from graphnas.space import Space
from predictors.described import Described, settled
from predictors.descriptors import GROUPS, Descriptors
from predictors.gaussian_process import GaussianProcess
from predictors.trees import Trees

_ROWS = 2048
_FEATURES = 0.1  # share of the columns that a split looks at


class Surrogate(Predictor):
    """A Gaussian process and extremely randomised trees (Geurts et al., 2006) on the same remembered descriptors.

    Columns and scales of the descriptors come from random architectures alone, so nothing has to be described again
    at the next fit, and every canonical form is described once. The process finds the smooth trend over the whole
    space, the trees what is special about the neighbourhood that most labels of a search come from. Targets are the scores
    themselves, standardised, and not their ranks: labels crowd at the top, where ranks would blow up the noise. Mean and
    standard deviation are the weighted means of those of the two.

    Args:
        space: whose architectures it is for.
        trees: how many; 0 leaves the process alone.
        weight: of the trees, where the process weighs 1.
        reference: how many random architectures, without labels, settle the columns and scales.
        seed: fixes all random draws.

    Attributes:
        described_: the fitted descriptors, with their memory.
        process_: the fitted GaussianProcess.
        trees_: the fitted trees, or None.
        unit_: mean and standard deviation of the training scores.

    Raises:
        GraphnasError: an argument out of range.
    """

    name = "surrogate"

    def __init__(
        self, space: Space, trees: int = 50, weight: float = 0.7, reference: int = 1000, seed: int = 0
    ) -> None:
        if trees < 0 or not 0 <= weight < np.inf or reference < 2:
            raise GraphnasError(
                f"a surrogate needs trees >= 0, weight >= 0 and reference >= 2, not {trees}, {weight} and {reference}"
            )
        self.space = space
        self.trees = trees
        self.weight = weight
        self.reference = reference
        self.seed = seed

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        self.described_ = settled(self.space, self.reference, self.seed)
        forms, member = classes_of(self.space, architectures)
        x = np.ascontiguousarray(self.described_.rows(forms)[member])
        self.unit_ = np.array([scores.mean(), scores.std()])
        y = (scores - self.unit_[0]) / self.unit_[1]
        # In double precision, or the kernel matrix of near twins might not be positive definite.
        groups = self.described_.split(x.astype(np.float64))
        self.process_ = GaussianProcess().fit(groups, y, np.random.default_rng(self.seed))
        self.trees_ = self._grow(x, y) if self.trees else None

    def _grow(self, x: np.ndarray, y: np.ndarray) -> Trees:
        import sklearn
        from sklearn.tree import ExtraTreeRegressor

        # Tree by tree: the ensemble class spends more time on copying its settings than on growing small trees.
        with sklearn.config_context(skip_parameter_validation=True):
            grown = [
                ExtraTreeRegressor(max_features=_FEATURES, random_state=self.seed + i).fit(x, y, check_input=False)
                for i in range(self.trees)
            ]
        return Trees.join([Trees.of_sklearn(tree.tree_) for tree in grown])

    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        forms, member = classes_of(self.space, architectures)
        parts = [self._evaluate(forms[start : start + _ROWS]) for start in range(0, len(forms), _ROWS)]
        mean, std = (np.concatenate(part)[member] for part in zip(*parts, strict=True))
        return Prediction(self.unit_[0] + self.unit_[1] * mean, self.unit_[1] * std)

    def _evaluate(self, forms: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        x = self.described_.rows(forms)
        mean, std = self.process_.predict(self.described_.split(x))
        if self.trees_ is None:
            return mean, std
        other, spread = self.trees_.predict(x)
        return (mean + self.weight * other) / (1 + self.weight), (std + self.weight * spread) / (1 + self.weight)

    def _arrays(self) -> Mapping[str, np.ndarray]:
        trees = {} if self.trees_ is None else self.trees_.arrays()
        return {**self.described_.descriptors.arrays(), **self.process_.arrays(), **trees, "unit": self.unit_}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        descriptors = Descriptors(self.space)
        descriptors.set_arrays(arrays)
        unit = arrays["unit"]
        if unit.shape != (2,) or unit.dtype != np.float64 or not np.isfinite(unit).all() or not unit[1] > 0:
            raise ValueError("the unit of the scores is out of range")
        self.described_ = Described(descriptors)
        self.process_ = GaussianProcess()
        self.process_.set_arrays(arrays, [descriptors.mean_[name].size for name in GROUPS])
        self.trees_ = Trees.of_arrays(arrays) if self.trees else None
        if self.trees_ is not None:
            self.trees_.check(sum(self.described_.widths))
        self.unit_ = unit
