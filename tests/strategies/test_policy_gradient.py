"""REINFORCE: its expected step is the gradient of the expected score, by enumeration and finite differences.

(The policies themselves are tested in ``test_policies.py``; here it is what the strategy makes of scores.)
"""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2

from graphnas.architecture import node
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Decisions, Space
from graphnas.strategies.base import Trial
from graphnas.strategies.policy_gradient import PolicyGradient
from graphnas.strategies.product_policy import ProductPolicy
from graphnas.testing import check_strategy

CHOICES = Choice("first", tuple("abc"), "op"), Choice("second", ("d", "e"), "op")
NODES = [node("input"), node(CHOICES[0], (0,)), node(CHOICES[1], (1,)), node("output", (2,))]
SPACE = Space("pair", NODES)
LOGITS = [[0.3, -0.5, 1.1], [-0.2, 0.7]]
SCORES = {d: float(np.sin(3 * d[0] + 5 * d[1]) + d[0]) for d in itertools.product(range(3), range(2))}


def softmax(row: list[float]) -> np.ndarray:
    weights = np.exp(row)
    return np.asarray(weights / weights.sum())


def probability(logits: list[list[float]], d: Decisions) -> float:
    return math.prod(softmax(row)[i] for row, i in zip(logits, d, strict=True))


def expected_score(logits: list[list[float]]) -> float:
    return sum(probability(logits, d) * s for d, s in SCORES.items())


def entropy(logits: list[list[float]]) -> float:
    return -sum((p * np.log(p)).sum() for p in map(softmax, logits))


def finite_differences(function, step: float = 1e-6) -> list[list[float]]:  # type: ignore[no-untyped-def]
    result = []
    for r, row in enumerate(LOGITS):
        result.append([])
        for c in range(len(row)):
            sides = []
            for sign in (1, -1):
                moved = [list(v) for v in LOGITS]
                moved[r][c] += sign * step
                sides.append(function(moved))
            result[-1].append((sides[0] - sides[1]) / (2 * step))
    return result


def prepared(entropy_weight: float, learning_rate: float = 0.1) -> PolicyGradient:
    """A policy at LOGITS whose baseline and scale do not move: baseline 0.4, deviation 1."""
    made = PolicyGradient(SPACE, np.random.default_rng(0), learning_rate, decay=1 - 1e-13, entropy=entropy_weight)
    made.load_state_dict({**made.state_dict(), "baseline": 0.4, "variance": 1.0})
    set_logits(made)
    return made


def set_logits(strategy: PolicyGradient) -> None:
    policy = strategy.policy
    assert isinstance(policy, ProductPolicy)
    logits = policy.logits.copy()
    for row, given in zip(logits, LOGITS, strict=True):
        row[: len(given)] = given
    policy.logits = logits


def rows(table: np.ndarray) -> list[np.ndarray]:
    """What a table has for the options of each choice."""
    return [row[:radix] for row, radix in zip(table, SPACE.radices, strict=True)]


def trial(d: Decisions, score: float) -> Trial:
    a = SPACE.decode(d)
    return Trial(0, a, SPACE.key(a), "complete" if score == score else "failed", score)


def step_of(policy: PolicyGradient, trials: list[Trial]) -> list[np.ndarray]:
    assert isinstance(policy.policy, ProductPolicy)
    policy.tell(trials)
    return [after - before for after, before in zip(rows(policy.policy.logits), map(np.array, LOGITS), strict=True)]


def test_the_expected_step_is_the_gradient_of_the_expected_score() -> None:
    total = [np.zeros(3), np.zeros(2)]
    for d, score in SCORES.items():
        for sum_, step in zip(total, step_of(prepared(0.0), [trial(d, score)]), strict=True):
            sum_ += probability(LOGITS, d) * step
    for found, gradient in zip(total, finite_differences(expected_score), strict=True):
        assert np.allclose(found / 0.1, gradient, rtol=0, atol=1e-8)


def test_a_batch_takes_the_mean_step() -> None:
    trials = [trial(d, s) for d, s in SCORES.items()]
    alone = [step_of(prepared(0.0), [t]) for t in trials]
    together = step_of(prepared(0.0), trials)
    for r, found in enumerate(together):
        assert np.allclose(found, np.mean([steps[r] for steps in alone], axis=0), rtol=0, atol=1e-11)


def test_the_entropy_term_is_the_gradient_of_the_entropy() -> None:
    weight = 0.03
    trials = [trial((0, 1), 1.5), trial((2, 0), -0.5)]
    plain, with_entropy = step_of(prepared(0.0), trials), step_of(prepared(weight), trials)
    for a, b, gradient in zip(plain, with_entropy, finite_differences(entropy), strict=True):
        assert np.allclose((b - a) / (0.1 * weight), gradient, rtol=0, atol=1e-7)


def test_draws_follow_the_policy() -> None:
    draws = 6000
    counts = Counter(SPACE.encode(a) for a in prepared(0.0).ask(draws))
    expected = np.array([draws * probability(LOGITS, d) for d in SCORES])
    observed = np.array([counts[d] for d in SCORES])
    assert chi2.sf(((observed - expected) ** 2 / expected).sum(), len(SCORES) - 1) > 1e-3


def test_invalid_draws_are_rejected_in_proportion() -> None:
    space = Space("pair", NODES, valid=lambda d: d != (2, 1))
    made = PolicyGradient(space, np.random.default_rng(1))
    set_logits(made)
    counts = Counter(space.encode(a) for a in made.ask(6000))
    valid = [d for d in SCORES if d != (2, 1)]
    mass = sum(probability(LOGITS, d) for d in valid)
    expected = np.array([6000 * probability(LOGITS, d) / mass for d in valid])
    observed = np.array([counts[d] for d in valid])
    assert observed.sum() == 6000
    assert chi2.sf(((observed - expected) ** 2 / expected).sum(), len(valid) - 1) > 1e-3


def marginals(strategy: PolicyGradient) -> list[np.ndarray]:
    """The probability of every option, whatever the policy."""
    p = np.exp(strategy.policy.log_prob(list(SCORES)))
    made = np.array(list(SCORES))
    return [np.bincount(made[:, i], p, minlength=radix) for i, radix in enumerate(SPACE.radices)]


@pytest.mark.parametrize("policy", ["lstm", "product"])
@pytest.mark.parametrize("unit", [1e-3, 1e6])
def test_the_better_option_becomes_likely_in_any_unit(unit: float, policy: str) -> None:
    made = PolicyGradient(SPACE, np.random.default_rng(2), policy=policy)
    for _ in range(300 if policy == "product" else 100):
        asked = made.ask(4)
        made.tell([trial(SPACE.encode(a), unit * (SPACE.encode(a)[0] == 2)) for a in asked])
    first, second = marginals(made)
    assert first[2] > 0.9
    assert max(second) < 0.9  # the second decision makes no difference


@pytest.mark.parametrize("policy", ["lstm", "product"])
def test_failed_trials_are_avoided(policy: str) -> None:
    made = PolicyGradient(SPACE, np.random.default_rng(3), policy=policy)
    for i in range(200 if policy == "product" else 100):
        made.tell([trial(d, math.nan if d[1] == 0 else 1.0 + i % 3) for d in map(SPACE.encode, made.ask(4))])
    assert marginals(made)[1][1] > 0.8


@pytest.mark.parametrize("policy", ["lstm", "product"])
def test_a_settled_policy_starts_anew(policy: str) -> None:
    def uniform(strategy: PolicyGradient) -> bool:
        return all(np.abs(p - 1 / len(p)).max() < 0.05 for p in marginals(strategy))

    made = PolicyGradient(SPACE, np.random.default_rng(3), patience=6, policy=policy)
    for _ in range(30):
        made.tell([trial((0, 0), 1.0), trial((2, 1), 0.0)])
    assert not uniform(made)
    known = trial((0, 0), 1.0)
    known.status = "duplicate"
    made.tell([known] * 5)
    assert not uniform(made)
    made.tell([trial((0, 0), 1.0), known])  # a new one in between: counting begins again
    made.tell([known] * 4)
    assert not uniform(made)
    made.tell([known])
    assert uniform(made)


@pytest.mark.parametrize("policy", ["lstm", "product"])
def test_the_rules_of_strategies(policy: str) -> None:
    def make(space: Space, rng: np.random.Generator) -> PolicyGradient:
        options = {"hidden": 6} if policy == "lstm" else {}
        return PolicyGradient(space, rng, policy=policy, policy_options=options, patience=5)

    PolicyGradient(SPACE, np.random.default_rng(0), policy=policy)  # torch draws random names when it is first imported
    check_strategy(make, SPACE, rounds=6)


def test_impossible_options_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(GraphnasError, match="policy gradient needs 0 <= decay < 1"):
        PolicyGradient(SPACE, rng, decay=1.0)
    for options in ({"learning_rate": 0.0}, {"entropy": -1.0}):
        with pytest.raises(GraphnasError, match="a policy needs"):
            PolicyGradient(SPACE, rng, **options)
    with pytest.raises(GraphnasError, match="unknown policy 'lst'; nearest: lstm"):
        PolicyGradient(SPACE, rng, policy="lst")
