"""The latency reward of MnasNet: its exponents, its corners, and that its optimum lies on the Pareto front."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from graphnas.architecture import Architecture, node
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.estimators.costed import Costed
from graphnas.estimators.reward import EXPONENTS, LatencyReward, latency_reward
from graphnas.pareto import non_dominated
from graphnas.search import Search
from graphnas.space import Choice, Space
from graphnas.testing import check_estimator

CHOICE = Choice("width", tuple(range(12)), "width")
SPACE = Space("widths", [node("input"), node("layer", (0,), width=CHOICE), node("output", (1,))])


class Wide(Estimator):
    """Accuracy rises with the width, and so does the latency; the widest has none, the narrowest a latency of 0."""

    name, space, metric, cheap = "wide", SPACE, "validation", True

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        (d,) = SPACE.encode(architecture)
        return Evaluation(50 + 4 * math.sqrt(d), {"latency": 2.0 * d} if d < 11 else {})


def test_at_the_target_the_reward_is_the_accuracy() -> None:
    for alpha, beta in ((-0.07, -0.07), (0.0, -1.0), (-0.3, -2.0)):
        assert latency_reward(0.75, 80.0, 80.0, alpha, beta) == pytest.approx(0.75, abs=1e-15)
        below, above = (latency_reward(0.75, 80.0 * f, 80.0, alpha, beta) for f in (1 - 1e-9, 1 + 1e-9))
        assert below == pytest.approx(0.75, abs=1e-7)  # continuous
        assert above == pytest.approx(0.75, abs=1e-7)


def test_soft_doubling_the_latency_is_worth_five_percent_of_accuracy() -> None:
    soft = latency_reward(1.05 * 70, 160.0, 75.0) / latency_reward(70, 80.0, 75.0)
    assert soft == pytest.approx(1.05 * 2**-0.07, abs=1e-12)
    assert soft == pytest.approx(1.0002, abs=1e-4)
    assert math.log(1 / 1.05, 2) == pytest.approx(-0.0704, abs=5e-5)
    assert EXPONENTS["soft"] == (-0.07, -0.07)


def test_hard_it_is_flat_below_the_target_and_falls_in_proportion_above() -> None:
    alpha, beta = EXPONENTS["hard"]
    latency = np.array([1.0, 40.0, 80.0, 160.0, 400.0])
    assert latency_reward(70.0, latency, 80.0, alpha, beta).tolist() == pytest.approx([70, 70, 70, 35, 14])


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_it_rises_with_accuracy_and_never_with_latency(kind: str) -> None:
    alpha, beta = EXPONENTS[kind]
    accuracy, latency = np.linspace(1, 90, 40), np.geomspace(1, 500, 60)
    grid = latency_reward(accuracy[:, None], latency[None], 75.0, alpha, beta)
    assert (np.diff(grid, axis=0) > 0).all()
    assert (np.diff(grid, axis=1) <= 1e-12).all()


def test_the_soft_optimum_is_on_the_pareto_front_of_any_cloud() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(2, 60))
        accuracy, latency = rng.integers(1, 30, size=n).astype(float), rng.integers(1, 30, size=n).astype(float)
        rewards = latency_reward(accuracy, latency, float(rng.uniform(1, 30)), -float(rng.uniform(0.01, 2)), -0.9)
        front = non_dominated(np.stack([accuracy, -latency], axis=1))
        assert front[int(rewards.argmax())]


def test_any_strategy_searches_for_the_reward() -> None:
    expected = {d: (50 + 4 * math.sqrt(d)) * (2.0 * d / 6) ** -0.07 for d in range(1, 11)}
    best = max(expected, key=expected.__getitem__)
    for strategy in ("random", "evolution", "local_search", "policy_gradient", "ppo", "nsga2"):
        result = Search(SPACE, LatencyReward(Wide(), "latency", 6.0), strategy, budget=12, seed=1).run()
        assert len(result.trials) == 12
        assert result.best is not None
        assert SPACE.encode(result.best.architecture) == (best,)
        assert result.best.score == pytest.approx(expected[best])
        assert result.best.metrics == {"latency": 2.0 * best, "validation": 50 + 4 * math.sqrt(best)}
        assert result.failed == 2  # no latency; a latency of 0
        errors = [t.error for t in result.trials if t.status == "failed"]
        assert any("does not report 'latency'" in e for e in errors)
        assert any("above 0" in e for e in errors)


def test_wrapped_estimators_keep_the_rules_of_estimators() -> None:
    check_estimator(Costed(Table(), {"depth": depth}), architectures=[SPACE.decode([d]) for d in range(4)])


def depth(architecture: Architecture) -> float:
    return float(SPACE.encode(architecture)[0] + 1)


class Table(Wide):
    def describe(self) -> dict[str, Any]:
        return {"name": "wide", "space": "widths"}


def test_costs_stand_beside_the_score() -> None:
    made = Costed(Wide(), {"depth": depth})
    found = made.evaluate(SPACE.decode([4]), seed=0)
    assert (found.score, found.metrics) == (58.0, {"latency": 8.0, "depth": 5.0})
    rewarded = LatencyReward(made, "depth", 5.0, "hard").evaluate(SPACE.decode([9]), seed=0)
    assert rewarded.score == pytest.approx((50 + 12) * 5 / 10)
    assert made.describe()["costs"] == ["depth"]
    with pytest.raises(GraphnasError, match="other than the score's"):
        Costed(Wide(), {"validation": depth})


class Counted(Wide):
    calls = 0

    def evaluate(self, architecture: Architecture, *, seed: int) -> Any:
        self.calls += 1
        return super().evaluate(architecture, seed=seed)


def test_what_costs_more_than_a_limit_is_never_evaluated() -> None:
    inner = Counted()
    made = Costed(inner, {"depth": depth}, {"depth": 5})
    at_limit, above = made.evaluate(SPACE.decode([4]), seed=0), made.evaluate(SPACE.decode([5]), seed=0)
    assert (at_limit.score, inner.calls) == (58.0, 1)
    assert math.isnan(above.score)
    assert (above.metrics, above.cost) == ({"depth": 6.0}, 0.0)
    result = Search(SPACE, made, "random", budget=12, seed=1).run()
    assert {SPACE.encode(t.architecture)[0] for t in result.trials if t.status == "complete"} == set(range(5))
    assert (result.failed, inner.calls) == (
        7,
        1 + 5,
    )  # all of the space once, and only what is within the limit evaluated
    assert made.describe()["limits"] == {"depth": 5}
    with pytest.raises(GraphnasError, match="unknown cost with a limit: 'width'"):
        Costed(inner, {"depth": depth}, {"width": 5})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": 0.0}, "must be greater than 0"),
        ({"target": 5.0, "kind": "mild"}, "'soft' or 'hard'"),
        ({"target": 5.0, "alpha": 0.1}, "at most 0"),
        ({"target": 5.0, "beta": math.nan}, "at most 0"),
    ],
)
def test_bad_arguments_are_refused_in_a_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphnasError, match=message):
        LatencyReward(Wide(), "latency", **given)
