"""CTNAS and comparator evolution: reward, baseline, pseudo-labels, and where an exact comparator leads them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from graphnas import registry
from graphnas.architecture import Architecture, node
from graphnas.errors import GraphnasError
from graphnas.predictor import Comparator
from graphnas.search import Search
from graphnas.space import Choice, Decisions, Space
from graphnas.strategies.base import Trial
from graphnas.strategies.comparator_evolution import ComparatorEvolution
from graphnas.strategies.comparing import confident_pairs, strongest
from graphnas.strategies.ctnas import CTNAS
from graphnas.strategies.learned import LearnedStrategy
from graphnas.strategies.policy import leave_one_out
from graphnas.testing import AdditiveEstimator, check_strategy
from predictors.comparator import NAC

RADICES = (6, 5, 7)
CHOICES = [Choice(f"c{i}", tuple("abcdefg"[:r]), "op") for i, r in enumerate(RADICES)]
SPACE = Space("toy", [node("input"), *[node(c, (i,)) for i, c in enumerate(CHOICES)], node("output", (3,))])
ALL = [tuple(d) for d in itertools.product(*map(range, RADICES))]
TINY = {"width": 8, "layers": 1, "steps": 8}


def score(space: Space, a: Architecture, seed: int = 0) -> float:
    return AdditiveEstimator(space, seed).evaluate(a, seed=0).score


class Exact(Comparator):
    """Knows the true scores: the probability is 0, 1/2 or 1."""

    name = "exact"

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.space, self.seed = space, seed
        self.fits: list[int] = []
        self.compared = 0

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        self.fits.append(len(scores))

    def _probability(self, a: Sequence[Architecture], b: Sequence[Architecture]) -> np.ndarray:
        self.compared += len(a)
        difference = [
            score(self.space, x, self.seed) - score(self.space, y, self.seed) for x, y in zip(a, b, strict=True)
        ]
        return (1 + np.sign(difference)) / 2

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        pass


class Pupil(Exact):
    """An exact comparator that keeps the pseudo-labels that it is taught."""

    name = "pupil"

    def __init__(self, space: Space, seed: int = 0) -> None:
        super().__init__(space, seed)
        self.lessons: list[tuple[list[Decisions], list[Decisions], list[float]]] = []

    def learn_pairs(
        self, a: Sequence[Architecture], b: Sequence[Architecture], labels: np.ndarray, steps: int
    ) -> object:
        encode = self.space.encode
        self.lessons.append(([encode(x) for x in a], [encode(x) for x in b], labels.tolist()))
        return self


def ctnas(seed: int = 0, objective: int = 0, comparator: Any = Exact, **options: Any) -> CTNAS:
    options = {"initial": 4, "comparator_options": {"seed": objective}, **options}
    return CTNAS(SPACE, np.random.default_rng(seed), comparator, **options)


def play(strategy: LearnedStrategy[Comparator], rounds: int, n: int = 2) -> list[Architecture]:
    space, everything = strategy.space, []
    for _ in range(rounds):
        asked = strategy.ask(n)
        strategy.tell([Trial(0, a, space.key(a), "complete", score(space, a)) for a in asked])
        everything += asked
    return everything


# -- comparing ----------------------------------------------------------------------------------


def test_the_strongest_by_row_means_is_the_best() -> None:
    rng = np.random.default_rng(0)
    comparator = Exact(SPACE).fit([SPACE.decode(d) for d in ALL[:2]], [0, 1])
    for _ in range(20):
        drawn = [SPACE.sample(rng) for _ in range(12)]
        scores = [score(SPACE, a) for a in drawn]
        assert strongest(comparator, drawn) == int(np.argmax(scores))


def test_confident_pairs_have_both_labels_where_the_greatest_p_have_one() -> None:
    rng = np.random.default_rng(0)
    strength = rng.normal(size=(2, 400))
    p = 1 / (1 + np.exp(-3 * (strength[0] - strength[1])))
    places, labels = confident_pairs(p, 100)
    assert np.abs(p[places] - 0.5).min() >= np.delete(np.abs(p - 0.5), places).max()
    assert np.array_equal(labels, p[places] > 0.5)
    assert 0.35 < labels.mean() < 0.65
    greatest = np.argsort(-p)[:100]
    assert (p[greatest] > 0.5).all()
    # What it cannot tell apart has no label.
    assert confident_pairs(np.array([0.5, 0.6, 0.5, 0.1]), 3)[0].tolist() == [3, 1]


# -- CTNAS --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "learning_rate", "objective"),
    [("lstm", 2e-3, 0), ("product", 0.02, 0), ("product", 0.02, 1), ("product", 0.02, 2)],
)
def test_the_mode_ends_in_the_top_five_percent(objective: int, policy: str, learning_rate: float) -> None:
    strategy = ctnas(objective=objective, steps=500, policy=policy, learning_rate=learning_rate)
    play(strategy, 2)
    strategy.ask(1)
    everything = sorted((score(SPACE, SPACE.decode(d), objective) for d in ALL), reverse=True)
    mode = score(SPACE, SPACE.decode(strategy.policy.mode()), objective)
    assert mode >= everything[int(0.05 * len(everything)) - 1]


@pytest.mark.parametrize("history", [1, 3, 100])
def test_the_baseline_never_gets_worse_with_an_exact_comparator(history: int) -> None:
    strategy = ctnas(steps=1, history=history, policy="product", learning_rate=0.05)
    play(strategy, 2)
    strategy.ask(1)
    winners = [strategy.baseline]
    for _ in range(60):
        strategy.choose_baseline()
        made = strategy.policy.sample(8, strategy.rng).decisions
        strategy.policy.step(made, leave_one_out(strategy.rewards(made)))
        winners.append(strategy.baseline)
    found = [score(SPACE, a) for a in winners]
    assert np.all(np.diff(found) >= 0)
    assert found[-1] > found[0]
    # The history is complete: all that ever won are still in it, up to the number that it holds.
    won = list(dict.fromkeys(map(SPACE.key, winners)))
    assert [SPACE.key(a) for a in strategy.baselines][-len(won) :] == won[-history:][-len(strategy.baselines) :]
    assert min(len(won), history) <= len(strategy.baselines) <= history


def test_rewards_are_against_the_current_baseline_and_compared_once() -> None:
    strategy = ctnas(steps=1)
    play(strategy, 2)
    strategy.ask(1)
    learner = strategy.learner
    assert isinstance(learner, Exact)
    ranked = sorted(ALL, key=lambda d: score(SPACE, SPACE.decode(d)))
    made = [ranked[-1], ranked[100], ranked[-1], ranked[50]]
    changes = 0
    for _ in range(6):
        target = score(SPACE, strategy.baseline)
        found = strategy.rewards(made)
        assert found.tolist() == [(1 + np.sign(score(SPACE, SPACE.decode(d)) - target)) / 2 for d in made]
        before = learner.compared
        assert np.array_equal(strategy.rewards(made), found)
        assert learner.compared == before
        strategy.choose_baseline()
        changes += score(SPACE, strategy.baseline) > target
        before = learner.compared
        strategy.rewards(made)
        assert learner.compared == before + 3 * (score(SPACE, strategy.baseline) > target)
    assert changes > 0


def test_pseudo_labels_are_of_both_classes_and_learned_again_after_loading() -> None:
    options: dict[str, Any] = {"steps": 40, "explore_every": 20, "explore_pairs": 30, "every": 4, "growth": 1.0}
    options = {"comparator": Pupil, "policy": "product", **options}
    strategy = ctnas(**options)
    play(strategy, 7)
    learner = strategy.learner
    assert isinstance(learner, Pupil)
    assert learner.fits == [4, 8, 12]
    assert len(learner.lessons) == 2 * 3
    labels = [label for lesson in learner.lessons for label in lesson[2]]
    assert 90 < len(labels) <= 180
    assert 0.3 < np.mean(labels) < 0.7
    for a, b, given in learner.lessons:
        for x, y, label in zip(a, b, given, strict=True):
            difference = score(SPACE, SPACE.decode(x)) - score(SPACE, SPACE.decode(y))
            assert label == (difference > 0) != (difference < 0)
    state = json.loads(json.dumps(strategy.state_dict(), allow_nan=False))
    other = ctnas(7, **options)
    other.load_state_dict(state)
    assert isinstance(other.learner, Pupil)
    assert other.learner.fits == [12]
    assert other.learner.lessons == learner.lessons[-2:]
    assert play(other, 4) == play(strategy, 4)
    without = ctnas(**{**options, "explore_every": 0})
    play(without, 4)
    assert isinstance(without.learner, Pupil)
    assert without.learner.lessons == []


def test_it_asks_for_what_wins_most_among_its_draws() -> None:
    strategy = ctnas(steps=20, candidates=30)
    play(strategy, 2)
    state = strategy.state_dict()
    asked = strategy.ask(1)
    strategy.load_state_dict(state)
    many = strategy.ask(5)
    scores = [score(SPACE, a) for a in many]
    assert asked == many[:1]
    assert len({SPACE.key(a) for a in many}) == 5
    references = [score(SPACE, a) for a in (*strategy.baselines, *strategy.labels.best)]
    rates = [np.mean([(1 + np.sign(s - r)) / 2 for r in references]) for s in scores]
    assert rates == sorted(rates, reverse=True)


# -- evolution ----------------------------------------------------------------------------------


def test_evolution_asks_for_the_strongest_of_all_that_was_born() -> None:
    space = registry.get_space("nasbench201")
    options: dict[str, Any] = {"initial": 6, "population": 4, "children": 20, "generations": 2}
    strategy = ComparatorEvolution(space, np.random.default_rng(0), Exact, **options)
    play(strategy, 3)
    before = strategy.labels.best_score
    state = strategy.state_dict()
    every = strategy.ask(15)
    strategy.load_state_dict(state)
    few = strategy.ask(5)
    known = {space.key(a) for a in strategy.labels.architectures}
    assert len({space.key(a) for a in every} | known) == 15 + len(known)
    assert set(few) <= set(every)
    assert max(score(space, a) for a in few) > before


def test_evolution_climbs_to_the_optimum_with_an_exact_comparator() -> None:
    estimator = AdditiveEstimator(SPACE)
    options = {"comparator": Exact, "initial": 6, "population": 6, "children": 12}
    strategy = ComparatorEvolution(SPACE, np.random.default_rng(1), **options)  # type: ignore[arg-type]
    found = Search(SPACE, estimator, strategy, budget=25, seed=1).run()
    assert found.best is not None
    assert found.duplicates == 0
    assert found.best.score == pytest.approx(sum(map(max, estimator.weights)), abs=1e-12)


# -- both ---------------------------------------------------------------------------------------

SMALL: dict[type[LearnedStrategy[Comparator]], dict[str, Any]] = {
    CTNAS: {"initial": 6, "steps": 12, "batch": 4, "baseline_every": 5, "explore_every": 6, "explore_pairs": 8,
            "candidates": 16, "policy_options": {"hidden": 8}},
    ComparatorEvolution: {"initial": 6, "population": 5, "children": 8, "generations": 2},
}  # fmt: skip


@pytest.mark.parametrize("kind", SMALL)
def test_the_rules_of_strategies(kind: type[LearnedStrategy[Comparator]]) -> None:
    space = registry.get_space("nasbench201")

    def make(space: Space, rng: np.random.Generator) -> LearnedStrategy[Comparator]:
        return kind(space, rng, comparator=NAC, comparator_options=TINY, **SMALL[kind])  # type: ignore[call-arg]

    make(space, np.random.default_rng(0)).learner.fit([space.decode([d] * 6) for d in range(3)], [0.0, 1, 2])
    check_strategy(make, space, rounds=4, batch=3)


def test_impossible_options_are_refused() -> None:
    rng = np.random.default_rng(0)
    for wrong in ({"steps": 0}, {"history": 0}, {"explore_every": -1}):
        with pytest.raises(GraphnasError, match="ctnas needs"):
            CTNAS(SPACE, rng, Exact, **wrong)  # type: ignore[arg-type]
    for wrong in ({"learning_rate": 0.0}, {"entropy": math.nan}):
        with pytest.raises(GraphnasError, match="a policy needs"):
            CTNAS(SPACE, rng, Exact, **wrong)  # type: ignore[arg-type]
    with pytest.raises(GraphnasError, match="unknown policy 'gru'"):
        CTNAS(SPACE, rng, Exact, policy="gru")
    for wrong in ({"population": 0}, {"generations": 0}):
        with pytest.raises(GraphnasError, match="comparator evolution needs"):
            ComparatorEvolution(SPACE, rng, Exact, **wrong)  # type: ignore[arg-type]
    with pytest.raises(GraphnasError, match="makes a RandomForest, which is no Comparator"):
        CTNAS(SPACE, rng, "random_forest")
    with pytest.raises(GraphnasError, match="comparator NAC does not take these options"):
        CTNAS(SPACE, rng, NAC, {"widht": 3})
