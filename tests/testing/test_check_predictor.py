"""The predictor check accepts what is right and names what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.predictor import Comparator, Prediction, Predictor
from graphnas.space import Space
from graphnas.testing import check_predictor

SPACE = registry.get_space("nasbench201")
RNG = np.random.default_rng(0)


class Nearest(Predictor):
    """The mean score of the three nearest known decisions, and their spread."""

    name = "nearest"

    def __init__(self, space: Space) -> None:
        self.space = space

    def rows(self, architectures: Sequence[Architecture]) -> np.ndarray:
        return np.array([self.space.encode(a) for a in architectures])

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        self.rows_, self.scores_ = self.rows(architectures), scores

    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        distance = (self.rows(architectures)[:, None] != self.rows_).sum(-1)
        near = self.scores_[np.argsort(distance, axis=1, kind="stable")[:, :3]]
        return Prediction(near.mean(1), near.std(1))

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {"rows": self.rows_, "scores": self.scores_}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.rows_, self.scores_ = arrays["rows"], arrays["scores"]


class Noisy(Nearest):
    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        mean, std = super()._predict(architectures)
        return Prediction(mean + RNG.normal(size=len(mean)), std)


class Standardised(Nearest):
    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        mean, std = super()._predict(architectures)
        return Prediction(mean - mean.mean(), std)


class NegativeSpread(Nearest):
    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        mean, std = super()._predict(architectures)
        return Prediction(mean, -std - 1)


class Forgetful(Nearest):
    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.rows_, self.scores_ = arrays["rows"], arrays["scores"][::-1]


class TakesAnything(Nearest):
    def fit(self, architectures: Any, scores: Any) -> TakesAnything:
        try:
            return super().fit(architectures, scores)
        except Exception:
            self.labels_ = 0
            return self


class UsesNumpysGenerator(Nearest):
    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        np.random.random()  # noqa: NPY002
        super()._fit(architectures, scores)


@pytest.mark.parametrize("name", registry.names("space"))
def test_a_sound_predictor_passes(name: str) -> None:
    check_predictor(lambda: Nearest(registry.get_space(name)), registry.get_space(name))


@pytest.mark.parametrize(
    ("cls", "rule"),
    [
        (Noisy, "predicting twice"),
        (Standardised, "must not depend on the others in the call"),
        (NegativeSpread, "std must be at least 0"),
        (Forgetful, "a loaded predictor must predict the same"),
        (TakesAnything, "must refuse a single point"),
        (UsesNumpysGenerator, "global generator of numpy"),
    ],
)
def test_a_broken_predictor_is_found(cls: type[Nearest], rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_predictor(lambda: cls(SPACE), SPACE)


def test_invariance_is_checked_when_it_is_claimed() -> None:
    class ByPosition(Nearest):
        """Reads the order of the nodes, which a renamed copy has not."""

        def rows(self, architectures: Sequence[Architecture]) -> np.ndarray:
            return np.array([[len(n.op) + sum(n.inputs) for n in a.nodes] for a in architectures])

    check_predictor(lambda: ByPosition(SPACE), SPACE)
    with pytest.raises(AssertionError, match="isomorphic writings must get equal predictions"):
        check_predictor(lambda: ByPosition(SPACE), SPACE, invariant=True)


@pytest.mark.parametrize("name", registry.names("predictor"))
def test_registered_predictors_keep_the_rules(name: str) -> None:
    make = registry.find("predictor", name)
    if issubclass(make, Comparator):
        pytest.skip(f"{name} compares; its tests are its own")
    small = {"gcn": {"steps": 20, "networks": 1}, "nao": {"steps": 20, "width": 16, "structures": 50}}.get(name, {})
    check_predictor(lambda: make(SPACE, **small), SPACE)
