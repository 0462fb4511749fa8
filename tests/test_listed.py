"""A list of architectures as a space: what it holds, how it moves, and that policies draw what rejection would."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2

from graphnas import registry
from graphnas.architecture import node
from graphnas.errors import GraphnasError
from graphnas.estimators.table import Table, TableEstimator
from graphnas.listed import Listed
from graphnas.search import Search
from graphnas.space import Choice, Space
from graphnas.strategies.policy import Policy
from graphnas.strategies.product_policy import ProductPolicy
from graphnas.testing import SMALL_OPTIONS

RADICES = (2, 3, 4, 3, 2)
WHOLE = Space(
    "five",
    [
        node("input"),
        *(node(Choice(f"c{i}", tuple(f"{i}{k}" for k in range(r)), "op"), (i,)) for i, r in enumerate(RADICES)),
        node("output", (5,)),
    ],
)
ROWS = np.array([WHOLE.encode(a) for a in WHOLE.enumerate()])[np.random.default_rng(0).permutation(144)[:40]]


def test_it_holds_what_is_listed_and_nothing_else() -> None:
    space = Listed(WHOLE, ROWS)
    assert space.size == 40
    assert [list(space.encode(a)) for a in space.enumerate()] == ROWS.tolist()
    inside = set(map(tuple, ROWS.tolist()))
    for a in WHOLE.enumerate():
        d = WHOLE.encode(a)
        assert space.is_valid(d) == (d in inside)
        assert space.key(a) == WHOLE.key(a)
    with pytest.raises(GraphnasError, match="break the validity rule"):
        space.decode(next(WHOLE.encode(a) for a in WHOLE.enumerate() if WHOLE.encode(a) not in inside))
    copied = pickle.loads(pickle.dumps(space))  # our own bytes
    assert (copied.listed == ROWS).all()
    assert copied.size == 40


def test_moves_stay_on_the_list_and_go_to_the_nearest() -> None:
    space, rng = Listed(WHOLE, ROWS), np.random.default_rng(1)
    for a in space.enumerate():
        d = np.array(space.encode(a))
        distance = (d != ROWS).sum(axis=1)
        for _ in range(5):
            made = np.array(space.encode(space.mutate(a, rng)))
            changed = np.flatnonzero(made != d)
            least = [distance[ROWS[:, i] == made[i]].min() for i in changed]
            assert len(changed) in least  # no member that has one of the new options is nearer
            other = space.sample(rng)
            child = np.array(space.encode(space.crossover(a, other, rng)))
            assert child.tolist() in ROWS.tolist()
        near = [space.encode(n) for n in space.neighbours(a)]
        assert len(set(near)) == len(near) == 20
        assert tuple(d.tolist()) not in near
        assert sorted(distance)[1:21] == [int((np.array(n) != d).sum()) for n in near]
    places = Counter(
        int(np.flatnonzero(np.array(space.encode(space.mutate(a, rng, group="op"))) != ROWS[0])[0])
        for a in [space.decode(ROWS[0].tolist())] * 200
    )
    assert len(places) > 1
    with pytest.raises(GraphnasError, match="nothing to change"):
        space.mutate(space.decode(ROWS[0].tolist()), rng, group="other")


def test_a_policy_draws_members_by_their_probability() -> None:
    space = Listed(WHOLE, ROWS)
    policy = ProductPolicy(space)
    policy.logits = np.where(policy.logits > -1, np.random.default_rng(2).normal(size=policy.logits.shape), -1e9)
    weights = np.exp(policy.log_prob(ROWS))  # type: ignore[arg-type]
    n = 20_000
    counts = Counter(policy.sample(n, np.random.default_rng(3)).decisions)
    expected = n * weights / weights.sum()
    observed = np.array([counts[tuple(row)] for row in ROWS.tolist()])
    assert observed.sum() == n
    assert ((observed - expected) ** 2 / expected).sum() < chi2.ppf(1 - 1e-6, len(ROWS) - 1)
    # the same distribution by rejection, from a space whose rule is the list
    ruled = Space("five", WHOLE.template, valid=set(map(tuple, ROWS.tolist())).__contains__)
    other = ProductPolicy(ruled)
    other.logits = policy.logits
    again = Counter(Policy.sample(other, n, np.random.default_rng(4)).decisions)
    rejected = np.array([again[tuple(row)] for row in ROWS.tolist()])
    assert ((rejected - expected) ** 2 / expected).sum() < chi2.ppf(1 - 1e-6, len(ROWS) - 1)


@pytest.mark.parametrize("strategy", ["random", "evolution", "local_search", "policy_gradient", "ppo", "nsga2"])
def test_searches_look_at_members_only(strategy: str) -> None:
    rng = np.random.default_rng(5)
    table = Table("five/few", Listed(WHOLE, ROWS), ROWS, {"validation": rng.random(40)}, test=())
    estimator = TableEstimator(table)
    result = Search(estimator.space, estimator, strategy, options=SMALL_OPTIONS.get(strategy), budget=30, seed=0).run()
    assert len(result.trials) == 30
    assert result.failed == 0


@pytest.mark.parametrize("rows", [ROWS[:, :4], np.zeros((0, 5), dtype=int), ROWS + 4, np.vstack([ROWS, ROWS[:1]])])
def test_bad_lists_are_refused_in_a_line(rows: np.ndarray) -> None:
    with pytest.raises(GraphnasError, match=r"do not list architectures|has one twice"):
        Listed(WHOLE, rows)


def test_spaces_that_are_not_lists_say_so() -> None:
    assert WHOLE.listed is None
    assert registry.get_space("nasbench201").listed is None
