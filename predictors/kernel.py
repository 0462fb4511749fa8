"""The kernel predictor: a Gaussian process on descriptions of canonical graphs, fitted in closed form in a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.encoding.forms import classes_of
from graphnas.errors import GraphnasError
from graphnas.metrics import normal_scores
from graphnas.predictor import Prediction, Predictor
from graphnas.space import Space
from predictors.descriptors import Descriptors, Groups, reference_forms
from predictors.gaussian_process import GaussianProcess
from predictors.ranks import Increasing
from predictors.signals import Signals, without_signals

_ROWS = 1024


class KernelPredictor(Predictor):
    """Gaussian process on Weisfeiler-Lehman colours, op paths and scalars of the canonical graph.

    The groups of ``predictors.descriptors`` have a weight each in one Matern kernel; the weights, the amplitude and the noise
    maximise the marginal likelihood (Ru et al., ICLR 2021, did so with Weisfeiler-Lehman kernels alone). The targets are
    the normal scores of the ranks, so the ranking depends on the order of the scores alone; predictions are
    carried back to the unit of the scores by an increasing map through the quantiles of the training scores.

    Args:
        space: whose architectures it is for.
        reference: how many random architectures, without labels, settle the columns and scales of the descriptions.
        seed: fixes all random draws.
        signals: cheap numbers about architectures, described like the graph.

    Attributes:
        descriptors_: the fitted descriptions.
        process_: the fitted GaussianProcess.
        unit_: the map from normal scores to scores.

    Raises:
        GraphnasError: ``reference`` is negative.
    """

    name = "kernel"

    def __init__(self, space: Space, reference: int = 1000, seed: int = 0, signals: Signals | None = None) -> None:
        if reference < 0:
            raise GraphnasError(f"reference is {reference}; it is a number of architectures, 0 or more")
        self.space = space
        self.reference = reference
        self.seed = seed
        self.signals = signals

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments without the space and the signals."""
        return without_signals(super().arguments())

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        rng = np.random.default_rng(self.seed)
        forms = reference_forms(self.space, architectures, self.reference, rng)
        self.descriptors_ = Descriptors(self.space, self.signals)
        groups = self.descriptors_.fit(forms)
        member = classes_of(self.space, architectures)[1]  # their forms come first, in the same order
        ranks = normal_scores(scores)
        self.process_ = GaussianProcess(centres=self.descriptors_.centres).fit(
            [x[member] for x in in_order(groups)], ranks, rng
        )
        self.unit_ = Increasing.matching(ranks, scores)

    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        forms, member = classes_of(self.space, architectures)
        parts = []
        for start in range(0, len(forms), _ROWS):
            groups = self.descriptors_.transform(forms[start : start + _ROWS])
            parts.append(self.process_.predict(in_order(groups)))
        latent, spread = (np.concatenate(part) for part in zip(*parts, strict=True))
        mean = self.unit_(latent)
        std = (self.unit_(latent + spread) - self.unit_(latent - spread)) / 2
        return Prediction(mean[member], std[member])

    def _arrays(self) -> Mapping[str, np.ndarray]:
        signals = self.signals.arrays() if self.signals else {}
        return {**self.descriptors_.arrays(), **self.process_.arrays(), **self.unit_.arrays("unit"), **signals}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.signals = Signals.of_arrays(self.space, arrays)
        self.descriptors_ = Descriptors(self.space, self.signals)
        self.descriptors_.set_arrays(arrays)
        self.process_ = GaussianProcess()
        self.process_.set_arrays(arrays, self.descriptors_.widths)
        self.unit_ = Increasing.of_arrays(arrays, "unit")


def in_order(groups: Groups) -> list[np.ndarray]:
    """The groups as a list, in the order in which Descriptors makes them."""
    return list(groups.values())
