"""Policies: draws, log-probabilities, gradients against enumeration, masks, state, and what an LSTM can that a product cannot."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from graphnas.architecture import node
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Decisions, Space
from graphnas.strategies.policies import make_policy
from graphnas.strategies.policy import Policy, leave_one_out
from graphnas.strategies.product_policy import ProductPolicy
from graphnas.strategies.recurrent_policy import RecurrentPolicy
from graphnas.testing.rules import global_randomness_untouched

KINDS = ("lstm", "product")


def space_of(*radices: int, valid: Any = None) -> Space:
    choices = [Choice(f"c{i}", tuple("abcdefg"[:r]), "op") for i, r in enumerate(radices)]
    nodes = [node("input"), *[node(c, (i,)) for i, c in enumerate(choices)], node("output", (len(radices),))]
    return Space("toy", nodes, valid=valid)


def no_equals(d: Decisions) -> bool:
    return d[0] != d[1]


def later_are_less(prefix: Decisions) -> Sequence[int]:
    """The second decision is at most the first; the third is active only after a second of 0."""
    if len(prefix) == 0:
        return range(3)
    return range(prefix[0] + 1) if len(prefix) == 1 else (range(4) if prefix[1] == 0 else [0])


PAIR, TRIPLE = space_of(3, 2), space_of(3, 3, 4)
ALLOWED = [d for d in itertools.product(range(3), range(3), range(4)) if d[1] <= d[0] and (d[1] == 0 or d[2] == 0)]
REWARD = {d: float(np.sin(3 * d[0] + 5 * d[1]) + d[0]) for d in itertools.product(range(3), range(3))}


def policy_at(kind: str, space: Space, seed: int = 0, spread: float = 1.0, **options: Any) -> Policy:
    """A policy far from uniform; that of an LSTM in double precision where its gradients are compared."""
    rng = np.random.default_rng(seed)
    if kind == "lstm":
        return RecurrentPolicy(space, rng, hidden=6, scale=spread, **options)
    policy = ProductPolicy(space, **options)
    policy.logits = policy.logits + spread * rng.normal(size=policy.logits.shape)
    return policy


def everything(space: Space) -> list[Decisions]:
    return list(itertools.product(*map(range, space.radices)))


def agrees(observed: Sequence[float], expected: np.ndarray) -> bool:
    common = expected > 5
    statistic = ((np.asarray(observed) - expected)[common] ** 2 / expected[common]).sum()
    return bool(chi2.sf(statistic, common.sum() - 1) > 1e-3)


# -- probabilities ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("valid", [None, no_equals])
def test_draws_follow_the_policy(kind: str, valid: Any) -> None:
    space = space_of(3, 2, 5, valid=valid)
    policy = policy_at(kind, space)
    draws = policy.sample(8000, np.random.default_rng(1))
    np.testing.assert_allclose(draws.log_prob, policy.log_prob(draws.decisions), rtol=0, atol=1e-5)
    allowed = [d for d in everything(space) if space.is_valid(d)]
    p = np.exp(policy.log_prob(allowed))
    counts = Counter(draws.decisions)
    assert sum(counts[d] for d in allowed) == 8000
    assert agrees([counts[d] for d in allowed], 8000 * p / p.sum())
    assert p.max() / p.min() > 3


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_sum_to_one_and_the_mode_is_greedy(kind: str) -> None:
    policy = policy_at(kind, TRIPLE, 1, spread=2.0)
    each = dict(zip(everything(TRIPLE), np.exp(policy.log_prob(everything(TRIPLE))).tolist(), strict=True))
    assert sum(each.values()) == pytest.approx(1, abs=1e-6)
    greedy: Decisions = ()
    for radix in TRIPLE.radices:
        mass = [sum(p for d, p in each.items() if d[: len(greedy) + 1] == (*greedy, i)) for i in range(radix)]
        greedy = (*greedy, int(np.argmax(mass)))
    assert policy.mode() == greedy


def test_temperature_flattens_and_the_tanh_constant_bounds() -> None:
    def spread(**options: Any) -> float:
        policy = policy_at("lstm", space_of(5), spread=5.0, **options)
        log = policy.log_prob([(i,) for i in range(5)])
        return float(np.ptp(log))

    assert spread(temperature=4.0) == pytest.approx(spread() / 4, rel=1e-4)
    assert spread() > 2
    assert spread(tanh_constant=0.5) < 1
    assert 0.5 * np.ptp(np.tanh([-1, 1])) < spread(tanh_constant=0.5, temperature=0.1)
    # Sampling works them out by itself.
    policy = policy_at("lstm", TRIPLE, spread=5.0, temperature=3.0, tanh_constant=0.7)
    draws = policy.sample(50, np.random.default_rng(0))
    np.testing.assert_allclose(draws.log_prob, policy.log_prob(draws.decisions), rtol=0, atol=1e-5)


def test_the_first_weights_are_uniform_and_fixed_by_the_generator() -> None:
    with global_randomness_untouched("the policy"):
        one, same, other = (RecurrentPolicy(TRIPLE, np.random.default_rng(seed)) for seed in (1, 1, 2))
        one.step([(0, 0, 0)], np.ones(1))
        one.reset(np.random.default_rng(1))
    weights = np.concatenate([p.detach().numpy().ravel() for p in one.network.parameters()])
    assert np.abs(weights).max() <= 0.1
    assert weights.std() == pytest.approx(0.1 / 3**0.5, rel=0.02)
    assert one.network["lstm"].hidden_size == 64  # type: ignore[union-attr]
    assert all(np.array_equal(a, same.state_dict()[n]) for n, a in one.state_dict().items())
    assert any(not np.array_equal(a, other.state_dict()[n]) for n, a in one.state_dict().items())
    nearly = np.exp(one.log_prob(everything(TRIPLE)))
    np.testing.assert_allclose(nearly, 1 / 36, rtol=0.2)


# -- gradients ----------------------------------------------------------------------------------


def exact(policy: Policy, space: Space, entropy: float) -> list[np.ndarray]:
    """The gradient of expected reward (given validity) plus entropy, by enumeration and autograd."""
    every = everything(space)
    if isinstance(policy, RecurrentPolicy):
        parameters = list(policy.network.parameters())
        log = policy.log_probs(every)[0].sum(1)
    else:
        assert isinstance(policy, ProductPolicy)
        logits = torch.tensor(policy.logits, requires_grad=True)
        parameters = [logits]
        rows = torch.arange(len(space.radices))
        log = torch.stack([torch.log_softmax(logits, 1)[rows, torch.tensor(d)].sum() for d in every])
    p = log.exp()
    valid = torch.tensor([float(space.is_valid(d)) for d in every], dtype=torch.float64)
    rewards = torch.tensor([REWARD[d[:2]] for d in every], dtype=torch.float64)
    expected = (p * valid * rewards).sum() / (p * valid).sum()
    objective = expected - entropy * (p * log).sum()
    return [g.numpy() for g in torch.autograd.grad(objective, parameters)]


def estimated(policy: Policy, decisions: list[Decisions], weights: np.ndarray) -> list[np.ndarray]:
    if isinstance(policy, RecurrentPolicy):
        objective = policy.objective(decisions, weights)
        return [g.numpy() for g in torch.autograd.grad(objective, list(policy.network.parameters()))]
    assert isinstance(policy, ProductPolicy)
    return [policy.gradient(decisions, weights)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("valid", [None, no_equals])
@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_the_expected_step_is_the_gradient(kind: str, valid: Any, entropy: float) -> None:
    """All pairs of draws from a space of two choices: also with rejection, which the mean of the others makes unbiased."""
    space = space_of(3, 2, valid=valid)
    policy = policy_at(kind, space, 3, entropy=0.0 if valid else entropy)
    if isinstance(policy, RecurrentPolicy):
        policy.network.double()
    wanted = exact(policy, space, policy.entropy)
    allowed = [d for d in everything(space) if space.is_valid(d)]
    p = np.exp(policy.log_prob(allowed))
    p /= p.sum()
    total = [np.zeros_like(g) for g in wanted]
    for (i, a), (j, b) in itertools.product(enumerate(allowed), repeat=2):
        weights = leave_one_out(np.array([REWARD[a], REWARD[b]]))
        for sum_, g in zip(total, estimated(policy, [a, b], weights), strict=True):
            sum_ += p[i] * p[j] * g
    assert max(np.abs(g).max() for g in wanted) > 0.01
    for found, g in zip(total, wanted, strict=True):
        np.testing.assert_allclose(found, g, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_entropy_gradient_is_one_under_a_mask(kind: str) -> None:
    policy = policy_at(kind, TRIPLE, 2, entropy=0.5, allowed=later_are_less)
    p = np.exp(policy.log_prob(ALLOWED))
    assert p.sum() == pytest.approx(1, abs=1e-6)
    if isinstance(policy, RecurrentPolicy):
        policy.network.double()
        log = policy.log_probs(ALLOWED)[0].sum(1)
        wanted = [g.numpy() for g in torch.autograd.grad(-0.5 * (log.exp() * log).sum(), policy.network.parameters())]
    else:
        assert isinstance(policy, ProductPolicy)
        logits, wanted = policy.logits, [np.zeros((3, 4))]
        for place in itertools.product(range(3), range(4)):
            sides = []
            for sign in (1, -1):
                moved = logits.copy()
                moved[place] += sign * 1e-6
                policy.logits = moved
                log_p = policy.log_prob(ALLOWED)
                sides.append(-0.5 * (np.exp(log_p) * log_p).sum())
            wanted[0][place] = (sides[0] - sides[1]) / 2e-6
        policy.logits = logits
    total = [np.zeros_like(g) for g in wanted]
    for d, probability in zip(ALLOWED, np.exp(policy.log_prob(ALLOWED)), strict=True):
        for sum_, g in zip(total, estimated(policy, [d], np.zeros(1)), strict=True):
            sum_ += probability * g
    assert max(np.abs(g).max() for g in wanted) > 0.01
    for found, g in zip(total, wanted, strict=True):
        np.testing.assert_allclose(found, g, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_one_of_adam_up_the_gradient(kind: str) -> None:
    policy = policy_at(kind, PAIR, 3, learning_rate=0.1)
    made, weights = policy.sample(4, np.random.default_rng(0)).decisions, np.array([0.9, -0.1, 0.4, 0.3])
    g = np.concatenate([g.ravel() for g in estimated(policy, made, weights)])
    names = ["logits"] if kind == "product" else [n for n, _ in policy.network.named_parameters()]  # type: ignore[attr-defined]
    before, _ = policy.state_dict(), policy.step(made, weights)
    moved = np.concatenate([(policy.state_dict()[n] - before[n]).ravel() for n in names]) / 0.1
    # The first step of Adam has the length of the learning rate in every coordinate that has a gradient.
    np.testing.assert_allclose(moved, g / (np.abs(g) + 1e-8), rtol=0, atol=2e-3)


def test_a_plain_step_is_the_gradient_itself() -> None:
    policy = policy_at("product", PAIR, 3, learning_rate=0.1, adaptive=False)
    assert isinstance(policy, ProductPolicy)
    before, g = policy.logits, policy.gradient([(2, 1)], np.array([0.7]))
    policy.step([(2, 1)], np.array([0.7]))
    np.testing.assert_allclose(policy.logits, before + 0.1 * g, rtol=0, atol=1e-15)


def test_clipping_acts_on_the_gradient_of_the_step() -> None:
    """(In the released code of CTNAS it comes before the gradient is there.)"""

    def first_moment(scale: float) -> np.ndarray:
        policy = policy_at("lstm", PAIR, entropy=0.0, clip=0.5)
        policy.step([(0, 0), (2, 1)], scale * np.array([1.0, -1.0]))
        state = policy.state_dict()
        return np.concatenate([state[n].ravel() for n in state if n.endswith(".first")]) / 0.1

    small, large = first_moment(1e-3), first_moment(1e3)
    assert np.linalg.norm(large) == pytest.approx(0.5, rel=1e-3)
    assert np.linalg.norm(small) < 0.05
    np.testing.assert_allclose(large / np.linalg.norm(large), small / np.linalg.norm(small), rtol=0, atol=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_counts_once(kind: str) -> None:
    """A policy that took steps before goes on like one that has only its state."""
    policy, other = policy_at(kind, PAIR), policy_at(kind, PAIR, 5)
    for i in range(3):
        policy.step([(i, 0), (0, 1)], np.array([1.0, -0.3]))
    other.load_state_dict(policy.state_dict())
    for p in (policy, other):
        p.step([(1, 1)], np.array([0.5]))
    for name, array in policy.state_dict().items():
        assert np.array_equal(array, other.state_dict()[name]), name


# -- masks, state, refusals ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_decides_what_is_drawn(kind: str) -> None:
    policy = policy_at(kind, TRIPLE, 4, allowed=later_are_less)
    draws = policy.sample(6000, np.random.default_rng(0))
    np.testing.assert_allclose(draws.log_prob, policy.log_prob(draws.decisions), rtol=0, atol=1e-5)
    counts = Counter(draws.decisions)
    assert set(counts) <= set(ALLOWED)
    assert agrees([counts[d] for d in ALLOWED], 6000 * np.exp(policy.log_prob(ALLOWED)))
    assert policy.mode() in ALLOWED
    outside = [(0, 1, 0), (1, 1, 1)]
    assert np.all(policy.log_prob(outside) == -np.inf)
    before = policy.state_dict()
    policy.step(outside, np.ones(2))
    assert all(np.array_equal(a, policy.state_dict()[n]) for n, a in before.items())
    # What has one option left has no gradient: (0, 0, .) is decided after the first decision but for the third.
    policy.step([(2, 2, 0), (2, 1, 0), *outside], np.array([1.0, -1.0, 9.0, 9.0]))
    assert np.isfinite(policy.log_prob(ALLOWED)).all()
    policy.allowed = lambda prefix: [7]
    with pytest.raises(GraphnasError, match=r"after \[\] the policy's mask allows \[7\] of decision 'c0'"):
        policy.sample(1, np.random.default_rng(0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_policy_goes_on_bit_for_bit(kind: str) -> None:
    policy, other = policy_at(kind, TRIPLE), policy_at(kind, TRIPLE, 5)
    rngs = np.random.default_rng(0), np.random.default_rng(0)
    policy.step(policy.sample(4, rngs[0]).decisions, np.array([1.0, -1, 0.5, 0]))
    rngs[1].random((4, 3))
    state = {name: array.tolist() for name, array in policy.state_dict().items()}
    other.load_state_dict(json.loads(json.dumps(state, allow_nan=False)))
    for _ in range(5):
        drawn = [p.sample(6, rng) for p, rng in zip((policy, other), rngs, strict=True)]
        assert drawn[0].decisions == drawn[1].decisions
        assert np.array_equal(drawn[0].log_prob, drawn[1].log_prob)
        for p in (policy, other):
            p.step(drawn[0].decisions, leave_one_out(np.arange(6.0)))
    with pytest.raises(GraphnasError, match="the state of a policy lacks 'steps'"):
        other.load_state_dict({n: a for n, a in state.items() if n != "steps"})
    name = next(iter(state))
    with pytest.raises(GraphnasError, match=f"the state of a policy lacks {name!r} of shape"):
        other.load_state_dict({**state, name: [[1.0]]})


def test_where_nothing_valid_is_drawn_uniform_draws_stand_in() -> None:
    space = space_of(3, 3, valid=lambda d: d == (1, 2))
    policy = ProductPolicy(space)
    policy.logits = policy.logits + np.array([[60.0, 0, 0], [60.0, 0, 0]])
    draws = policy.sample(2, np.random.default_rng(0))
    assert draws.decisions == [(1, 2)] * 2
    np.testing.assert_allclose(draws.log_prob, policy.log_prob(draws.decisions))


def test_an_lstm_learns_what_decisions_have_to_do_with_each_other() -> None:
    """The reward is 1 where both decisions are equal: with entropy in the balance, no product comes near the optimum."""
    space, beta = space_of(3, 3), 0.5
    every = everything(space)
    rewards = np.array([float(a == b) for a, b in every])

    def value(policy: Policy) -> float:
        log = policy.log_prob(every)
        return float(np.exp(log) @ (rewards - beta * log))

    best = beta * np.log(np.exp(rewards / beta).sum())  # of the Boltzmann distribution
    policy = RecurrentPolicy(space, np.random.default_rng(0), 0.02, beta, hidden=16)
    rng = np.random.default_rng(1)
    for _ in range(250):
        made = policy.sample(16, rng).decisions
        policy.step(made, leave_one_out(np.array([float(a == b) for a, b in made])))
    grid = np.array([(i, j, 24 - i - j) for i in range(25) for j in range(25 - i)]) / 24
    entropies = -np.where(grid > 0, grid * np.log(np.maximum(grid, 1e-9)), 0).sum(1)
    product = grid @ grid.T + beta * (entropies[:, None] + entropies)
    assert product.max() < best - 0.2
    assert best - 0.05 < value(policy) <= best + 1e-6


def test_impossible_arguments_are_refused() -> None:
    rng = np.random.default_rng(0)
    for wrong in ({"learning_rate": 0.0}, {"entropy": -1.0}, {"learning_rate": float("nan")}):
        for kind in KINDS:
            with pytest.raises(GraphnasError, match="a policy needs learning_rate"):
                make_policy(kind, PAIR, rng, wrong)
    for wrong in ({"hidden": 0}, {"temperature": 0.0}, {"tanh_constant": -1.0}, {"clip": 0.0}):
        with pytest.raises(GraphnasError, match="a recurrent policy needs"):
            make_policy("lstm", PAIR, rng, wrong)
    with pytest.raises(GraphnasError, match="unknown policy 'lstn'; nearest: lstm"):
        make_policy("lstn", PAIR, rng, {})
    with pytest.raises(GraphnasError, match="policy 'product' does not take these options"):
        make_policy("product", PAIR, rng, {"hidden": 3})
    with pytest.raises(GraphnasError, match="nothing for a policy to learn"):
        RecurrentPolicy(Space("none", [node("input"), node("output", (0,))]), rng)
