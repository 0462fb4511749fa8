"""PPO: its surrogate's gradient against enumeration and finite differences, its clipping, and REINFORCE as its first step."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from graphnas.architecture import node
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Decisions, Space
from graphnas.strategies.base import Trial
from graphnas.strategies.policy import leave_one_out
from graphnas.strategies.ppo import PPO, advantages, surrogate_weights
from graphnas.strategies.product_policy import ProductPolicy

CHOICES = Choice("first", tuple("abc"), "op"), Choice("second", ("d", "e"), "op")
SPACE = Space("pair", [node("input"), node(CHOICES[0], (0,)), node(CHOICES[1], (1,)), node("output", (2,))])
ALL: list[Decisions] = list(itertools.product(range(3), range(2)))
OLD = np.array([[0.3, -0.5, 1.1], [-0.2, 0.7, -1e9]])
NEW = OLD + np.array([[0.4, 0.1, -0.5], [-0.6, 0.3, 0.0]])
SCORES = np.array([math.sin(3 * a + 5 * b) for a, b in ALL])
CLIP = 0.2


def policy(logits: np.ndarray) -> ProductPolicy:
    made = ProductPolicy(SPACE, learning_rate=1.0, entropy=0.0, adaptive=False)
    made.logits = logits.copy()
    return made


def surrogate(logits: np.ndarray) -> float:
    """The expectation of PPO's objective over all six architectures, drawn from the old policy."""
    old, new = (np.exp(policy(given).log_prob(ALL)) for given in (OLD, logits))
    ratio = new / old
    each = np.minimum(ratio * SCORES, np.clip(ratio, 1 - CLIP, 1 + CLIP) * SCORES)
    return float((old * each).sum())


def slopes(logits: np.ndarray, step: float = 1e-6) -> np.ndarray:
    result = np.zeros((2, 3))
    for place in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]:
        moved = [logits.copy(), logits.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        result[place] = (surrogate(moved[0]) - surrogate(moved[1])) / (2 * step)
    return result


@pytest.mark.parametrize("logits", [OLD + 1e-4, NEW], ids=["near the old policy", "far from it"])
def test_the_gradient_is_that_of_the_clipped_surrogate_by_enumeration(logits: np.ndarray) -> None:
    old = np.exp(policy(OLD).log_prob(ALL))
    now = policy(logits)
    ratio = np.exp(now.log_prob(ALL)) / old
    weights = surrogate_weights(ratio, SCORES, CLIP) * old * len(ALL)  # the policy takes the mean over the draws
    assert now.gradient(ALL, weights)[:, :3] == pytest.approx(slopes(logits), abs=1e-7)
    clipped = ((ratio > 1 + CLIP) & (SCORES > 0)) | ((ratio < 1 - CLIP) & (SCORES < 0))
    assert clipped.any() == (logits is NEW)
    assert (weights[clipped] == 0).all()


def test_a_ratio_is_clipped_only_on_the_side_to_which_its_advantage_pulls() -> None:
    ratio = np.array([0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 2.0])
    assert surrogate_weights(ratio, np.full(7, 2.0), CLIP).tolist() == [1.0, 1.58, 1.62, 2.0, 2.38, 0.0, 0.0]
    assert surrogate_weights(ratio, np.full(7, -1.0), CLIP).tolist() == [0.0, 0.0, -0.81, -1.0, -1.19, -1.21, -2.0]


def told(decisions: Decisions, number: int, score: float) -> Trial:
    a = SPACE.decode(decisions)
    status = "complete" if score == score else "failed"
    return Trial(number, a, SPACE.key(a), status, score)


def test_the_first_step_is_that_of_reinforce() -> None:
    drawn = [ALL[i] for i in (0, 3, 5, 5, 2, 1)]
    scores = np.array([1.0, -2.0, 0.5, 0.5, 3.0, 0.0])
    strategy = PPO(
        SPACE, np.random.default_rng(0), collect=6, epochs=1, entropy=0.0, learning_rate=0.5,
        policy_options={"adaptive": False},
    )  # fmt: skip
    strategy.policy.logits = OLD.copy()  # type: ignore[attr-defined]
    strategy.tell([told(d, i, s) for i, (d, s) in enumerate(zip(drawn, scores.tolist(), strict=True))])
    reinforce = policy(OLD)
    weights = leave_one_out(scores)
    expected = OLD + 0.5 * reinforce.gradient(drawn, weights / weights.std())
    assert strategy.policy.logits[:, :2] == pytest.approx(expected[:, :2], abs=1e-12)  # type: ignore[attr-defined]


def test_further_epochs_stop_at_the_clip() -> None:
    """With huge steps the ratio passes the clip in the first epoch; from then on nothing may move what was clipped."""
    moved = {}
    for epochs in (1, 2, 5):
        strategy = PPO(
            SPACE, np.random.default_rng(0), collect=2, epochs=epochs, entropy=0.0, learning_rate=5.0,
            policy_options={"adaptive": False},
        )  # fmt: skip
        strategy.tell([told((0, 0), 0, 1.0), told((1, 1), 1, -1.0)])
        moved[epochs] = strategy.policy.logits  # type: ignore[attr-defined]
    assert (moved[1] == moved[2]).all()
    assert (moved[1] == moved[5]).all()


def test_advantages_do_not_depend_on_the_unit_of_the_score() -> None:
    scores = np.random.default_rng(0).random(20)
    assert advantages(1e3 * scores - 7) == pytest.approx(advantages(scores))
    assert advantages(scores).mean() == pytest.approx(0, abs=1e-12)
    assert advantages(np.array([1.0, math.nan, 3.0])) == pytest.approx(advantages(np.array([1.0, 1.0, 3.0])))
    assert not advantages(np.full(4, 5.0)).any()
    assert not advantages(np.full(4, math.nan)).any()


def test_the_policy_moves_to_the_best_architecture() -> None:
    strategy = PPO(SPACE, np.random.default_rng(3), collect=12, patience=10**6)
    for _ in range(25):
        made = [SPACE.encode(a) for a in strategy.ask(12)]
        strategy.tell([told(d, i, SCORES[ALL.index(d)]) for i, d in enumerate(made)])
    assert strategy.policy.mode() == ALL[int(SCORES.argmax())]


def test_a_batch_moves_the_recurrent_policy_up_its_rewards() -> None:
    strategy = PPO(SPACE, np.random.default_rng(3), policy="lstm", collect=6, epochs=3, policy_options={"hidden": 8})
    before = strategy.policy.log_prob(ALL)
    strategy.tell([told(d, i, SCORES[i]) for i, d in enumerate(ALL)])
    change = strategy.policy.log_prob(ALL) - before
    assert change[SCORES.argmax()] > 0 > change[SCORES.argmin()]


def test_a_settled_policy_starts_anew() -> None:
    strategy = PPO(SPACE, np.random.default_rng(0), collect=2, patience=3)
    strategy.tell([told((0, 0), 0, 1.0), told((1, 1), 1, -1.0)])
    assert np.ptp(strategy.policy.logits[0]) > 0  # type: ignore[attr-defined]
    again = [Trial(0, SPACE.decode((0, 0)), "", "duplicate", 1.0)] * 3
    strategy.tell(again)
    assert np.ptp(strategy.policy.logits[0]) == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", [{"collect": 1}, {"epochs": 0}, {"clip": 0.0}, {"clip": 1.0}])
def test_bad_arguments_are_refused_in_a_line(given: dict[str, float]) -> None:
    with pytest.raises(GraphnasError, match="ppo needs collect >= 2"):
        PPO(SPACE, np.random.default_rng(0), **given)  # type: ignore[arg-type]
