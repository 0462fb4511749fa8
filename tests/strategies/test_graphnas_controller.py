"""The controller of GraphNAS: its published settings, and its step against the REINFORCE gradient written out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from graphnas.architecture import node
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Decisions, Space
from graphnas.strategies.base import Trial
from graphnas.strategies.graphnas_controller import GraphNASController
from graphnas.strategies.recurrent_policy import RecurrentPolicy
from graphnas.testing import check_strategy
from spaces.gnn import graphnas_space

CHOICES = [Choice(f"c{i}", tuple("abc"[:r]), "op") for i, r in enumerate((3, 2, 3))]
SPACE = Space("toy", [node("input"), *[node(c, (i,)) for i, c in enumerate(CHOICES)], node("output", (3,))])


def made(seed: int = 0, **options: Any) -> GraphNASController:
    return GraphNASController(SPACE, np.random.default_rng(seed), **{"hidden": 5, **options})


def policy_of(strategy: GraphNASController) -> RecurrentPolicy:
    assert isinstance(strategy.policy, RecurrentPolicy)
    return strategy.policy


def trial(d: Decisions, score: float) -> Trial:
    a = SPACE.decode(d)
    return Trial(0, a, SPACE.key(a), "complete" if score == score else "failed", score)


def test_the_defaults_are_the_published_settings() -> None:
    strategy = GraphNASController(graphnas_space(2), np.random.default_rng(0))
    policy = policy_of(strategy)
    lstm, optimiser = policy.network["lstm"], policy._optimiser
    assert isinstance(lstm, torch.nn.LSTM)
    assert (lstm.hidden_size, policy.temperature, policy.tanh_constant, policy.clip) == (100, 5.0, 2.5, None)
    assert isinstance(optimiser, torch.optim.Adam)
    assert [group["lr"] for group in optimiser.param_groups] == [3.5e-4]
    assert (strategy.decay, strategy.entropy, policy.entropy) == (0.95, 1e-4, 0.0)


def test_the_reward_is_accuracy_and_entropy_and_the_baseline_moves() -> None:
    """The advantages that reach the policy, against the recurrence written out, with a large weight of the entropy."""
    strategy = made(entropy=0.3, temperature=1.0)
    seen: list[float] = []
    strategy.policy.step = lambda decisions, weights: seen.extend(weights.tolist())  # type: ignore[method-assign]
    rng, baseline, expected = np.random.default_rng(1), None, []
    for d in [tuple(int(v) for v in rng.integers((3, 2, 3))) for _ in range(12)]:
        score = float(rng.uniform(60, 80))
        reward = score / 100 + 0.3 * entropy_by_prefixes(strategy, d)
        baseline = reward if baseline is None else baseline
        expected.append(reward - baseline)
        baseline = 0.95 * baseline + 0.05 * reward
        strategy.tell([trial(d, score)])
    assert seen == pytest.approx(expected, abs=1e-6)
    assert strategy._baseline == pytest.approx(baseline, abs=1e-6)


def entropy_by_prefixes(strategy: GraphNASController, d: Decisions) -> float:
    """Every decision's entropy, from the probabilities of whole architectures that begin in the same way."""
    everything = list(itertools.product(range(3), range(2), range(3)))
    p = dict(zip(everything, np.exp(strategy.policy.log_prob(everything)), strict=True))
    total = 0.0
    for i, radix in enumerate((3, 2, 3)):
        mass = [sum(v for o, v in p.items() if o[: i + 1] == (*d[:i], option)) for option in range(radix)]
        shares = np.array(mass) / sum(mass)
        total -= float((shares * np.log(shares)).sum())
    return total


def test_the_expected_step_climbs_the_expected_accuracy() -> None:
    """The sum over all draws of p * R * grad log p is the gradient of the expected score, by autograd."""
    policy = policy_of(made(seed=2, temperature=1.0))
    everything = list(itertools.product(range(3), range(2), range(3)))
    rewards = torch.tensor([math.sin(3 * a + 5 * b) + c for a, b, c in everything])
    parameters = list(policy.network.parameters())
    log = policy.log_probs(everything)[0].sum(1)
    expected = torch.autograd.grad((log.exp() * rewards).sum(), parameters)
    total = [torch.zeros_like(p) for p in parameters]
    for d, reward, p in zip(everything, rewards.tolist(), log.exp().tolist(), strict=True):
        for sum_, g in zip(
            total, torch.autograd.grad(policy.objective([d], np.array([reward])), parameters), strict=True
        ):
            sum_ += p * g
    for found, gradient in zip(total, expected, strict=True):
        assert torch.allclose(found, gradient, atol=1e-6)


def test_it_learns_and_avoids_failures() -> None:
    strategy = made(seed=3, learning_rate=0.02, temperature=1.0)
    for _ in range(120):
        asked = strategy.ask(4)
        d = [SPACE.encode(a) for a in asked]
        strategy.tell([trial(x, math.nan if x[1] == 0 else 60.0 + 20.0 * (x[0] == 2)) for x in d])
    p = {d: math.exp(strategy.policy.log_prob([d])[0]) for d in itertools.product(range(3), range(2), range(3))}
    assert sum(v for d, v in p.items() if d[0] == 2 and d[1] == 1) > 0.6


def test_the_rules_of_strategies() -> None:
    GraphNASController(SPACE, np.random.default_rng(0))  # torch draws random names when it is first imported
    check_strategy(lambda space, rng: GraphNASController(space, rng, hidden=5, patience=5), SPACE, rounds=6)


def test_impossible_options_are_refused() -> None:
    for options in ({"unit": 0.0}, {"entropy": -1.0}, {"unit": math.inf}):
        with pytest.raises(GraphnasError, match="GraphNAS needs a finite unit > 0"):
            made(**options)
