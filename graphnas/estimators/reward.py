"""Several figures as one score: the latency reward of MnasNet (Tan et al., CVPR 2019, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator, Evaluation

EXPONENTS = {"soft": (-0.07, -0.07), "hard": (0.0, -1.0)}
"""alpha, beta by kind. Soft: doubling the latency is worth 5 % of accuracy, ``1.05 * 2**beta = 1``."""


def latency_reward(
    quality: float | np.ndarray, latency: float | np.ndarray, target: float, alpha: float = -0.07, beta: float = -0.07
) -> Any:
    """``quality * (latency / target) ** w`` with w = alpha where latency <= target, else beta.

    Args:
        quality: accuracy, in any unit; at least 0.
        latency: greater than 0, in the unit of ``target``.
        target: the latency at which the reward equals the quality.
        alpha, beta: at most 0.

    Returns:
        a float, or an array of the shape of the arguments.
    """
    ratio = np.asarray(latency, dtype=np.float64) / target
    found = np.asarray(quality, dtype=np.float64) * ratio ** np.where(ratio <= 1, alpha, beta)
    return found if found.ndim else float(found)


class LatencyReward(Estimator):
    """Another estimator, whose score is traded off against a cost: any Strategy can then search for both.

    The metrics of an evaluation are those of the inner estimator and its score, under the name of its metric. Where the score is
    negative or the cost not greater than 0, the reward has no meaning and the trial fails.

    Args:
        inner: reports ``cost`` among its metrics, and a score that is larger for better architectures and not negative
            (accuracies).
        cost: name of the metric to trade off (latency, energy, params).
        target: the cost at which the reward equals the score.
        kind: "soft" (alpha = beta = -0.07) or "hard" (no reward for being faster than the target, proportional loss beyond).
        alpha, beta: exponents in place of those of ``kind``; at most 0.

    Raises:
        GraphnasError: a target or an exponent out of range, an unknown kind, or an inner score that is minimised.
    """

    metric = "reward"

    def __init__(
        self,
        inner: Estimator,
        cost: str,
        target: float,
        kind: str = "soft",
        alpha: float | None = None,
        beta: float | None = None,
    ) -> None:
        if kind not in EXPONENTS:
            raise GraphnasError(f"the latency reward is 'soft' or 'hard', not {kind!r}")
        if not inner.maximise:
            raise GraphnasError(f"{inner.metric} is to be made small; the latency reward multiplies an accuracy")
        default = EXPONENTS[kind]
        self.alpha = default[0] if alpha is None else alpha
        self.beta = default[1] if beta is None else beta
        if not (0 < target < math.inf):
            raise GraphnasError(f"the target of {cost} must be greater than 0, not {target}")
        if not (-math.inf < self.alpha <= 0 and -math.inf < self.beta <= 0):
            raise GraphnasError(
                f"the exponents of the latency reward must be at most 0, not {self.alpha} and {self.beta}"
            )
        self.inner = inner
        self.cost_name = cost
        self.target = float(target)
        self.name = inner.name
        self.space = inner.space
        self.batch = inner.batch
        self.cheap = inner.cheap

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        """The inner evaluation with the reward as its score.

        Raises:
            GraphnasError: the inner estimator does not report the cost, or reward has no meaning for its figures.
        """
        found = self.inner.evaluate(architecture, seed=seed)
        if self.cost_name not in found.metrics:
            have = ", ".join(sorted(found.metrics)) or "none"
            raise GraphnasError(f"{self.inner.name} does not report {self.cost_name!r} (its metrics: {have})")
        cost = found.metrics[self.cost_name]
        if found.score < 0 or cost <= 0:
            raise GraphnasError(
                f"the latency reward needs a score of at least 0 and a {self.cost_name} above 0, not {found.score} and {cost}"
            )
        reward = latency_reward(found.score, cost, self.target, self.alpha, self.beta)
        return Evaluation(reward, {**found.metrics, self.inner.metric: found.score}, found.cost)

    def test(self, architecture: Architecture, *, seed: int = 0) -> dict[str, float]:
        """The inner estimator's test metrics."""
        return self.inner.test(architecture, seed=seed)

    def describe(self) -> dict[str, Any]:
        """The inner settings, and target and exponents."""
        settings: Mapping[str, Any] = self.inner.describe()
        reward = {"cost": self.cost_name, "target": self.target, "alpha": self.alpha, "beta": self.beta}
        return {**settings, "reward": reward}
