"""NAO the strategy: which steps it tries, what it asks for, and what it keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.predictor import Prediction, Predictor
from graphnas.search import Search
from graphnas.space import Space
from graphnas.strategies.base import Trial
from graphnas.strategies.nao import NAO
from graphnas.testing import AdditiveEstimator, check_strategy
from predictors.nao import NAO as Model

SPACE = registry.get_space("nasbench201")
TINY = {"width": 8, "layers": 1, "steps": 8, "beams": 2, "structures": 20}
SMALL: dict[str, Any] = {"predictor": Model, "predictor_options": TINY, "initial": 6, "best": 4, "new": 6, "rounds": 3}


def score(a: Architecture) -> float:
    return AdditiveEstimator(SPACE, 0).evaluate(a, seed=0).score


class Climber(Predictor):
    """Predicts the true score; a step of length k sets the first k decisions to their best options."""

    name = "climber"

    def __init__(self, space: Space) -> None:
        self.space = space
        self.steps: list[float] = []
        self.best = [int(np.argmax(row)) for row in AdditiveEstimator(space, 0).weights]

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        pass

    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        mean = np.array([score(a) for a in architectures])
        return Prediction(mean, np.zeros(len(mean)))

    def improve(self, architectures: Sequence[Architecture], step: float) -> list[Architecture]:
        self.steps.append(step)
        k = int(step)
        return [self.space.decode([*self.best[:k], *self.space.encode(a)[k:]]) for a in architectures]

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        pass


def play(strategy: NAO, rounds: int, n: int = 2) -> list[Architecture]:
    everything = []
    for _ in range(rounds):
        asked = strategy.ask(n)
        strategy.tell([Trial(0, a, SPACE.key(a), "complete", score(a)) for a in asked])
        everything += asked
    return everything


def test_steps_grow_until_enough_is_new_and_the_best_predictions_are_asked_for_first() -> None:
    strategy = NAO(SPACE, np.random.default_rng(0), Climber, initial=10, best=3, new=5, rounds=6, every=100)
    first = play(strategy, 5)
    assert len(first) == 10
    assert isinstance(strategy.learner, Climber)
    best = sorted(first, key=score, reverse=True)[:3]
    asked = strategy.ask(4)
    steps = list(strategy.learner.steps)
    assert steps == [1.0 + i for i in range(len(steps))]
    reached: dict[str, Architecture] = {}
    known = {SPACE.key(a) for a in first}
    for step in steps:
        assert len(reached) < 5
        for a in strategy.learner.improve(best, step):
            if SPACE.key(a) not in known:
                reached.setdefault(SPACE.key(a), a)
    assert len(reached) >= 5
    expected = sorted(reached.values(), key=score, reverse=True)
    assert [score(a) for a in asked] == [score(a) for a in expected[:4]]


def test_the_gradient_leads_to_the_optimum() -> None:
    strategy = NAO(SPACE, np.random.default_rng(0), Climber, initial=10, best=3, new=5, rounds=6)
    found = Search(SPACE, AdditiveEstimator(SPACE), strategy, budget=25, seed=0).run()
    assert found.best is not None
    assert SPACE.encode(found.best.architecture) == tuple(Climber(SPACE).best)


def test_when_the_gradient_is_used_up_mutants_of_the_best_follow() -> None:
    strategy = NAO(SPACE, np.random.default_rng(0), Climber, initial=10, best=3, new=2, rounds=1, every=1000)
    asked = play(strategy, 20)
    keys = [SPACE.key(a) for a in asked]
    assert len(set(keys)) == len(keys) == 40
    assert isinstance(strategy.learner, Climber)
    assert strategy.learner.steps == [1.0]


def test_what_waits_is_saved() -> None:
    strategy = NAO(SPACE, np.random.default_rng(0), Climber, initial=10, best=3, new=12, rounds=6, every=1000)
    play(strategy, 6)
    assert strategy._waiting
    other = NAO(SPACE, np.random.default_rng(5), Climber, initial=10, best=3, new=12, rounds=6, every=1000)
    other.load_state_dict(json.loads(json.dumps(strategy.state_dict(), allow_nan=False)))
    assert isinstance(other.learner, Climber)
    assert other.learner.steps == []
    assert play(other, 8) == play(strategy, 8)


def test_the_rules_of_strategies() -> None:
    def make(space: Space, rng: np.random.Generator) -> NAO:
        return NAO(space, rng, **SMALL)

    make(SPACE, np.random.default_rng(0)).learner.fit([SPACE.decode([d] * 6) for d in range(3)], [0.0, 1, 2])
    check_strategy(make, SPACE, rounds=4)


def test_impossible_options_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(GraphnasError, match="random_forest cannot move architectures uphill"):
        NAO(SPACE, rng, "random_forest")
    for wrong in ({"best": 0}, {"rounds": 0}, {"mutants": 0}):
        with pytest.raises(GraphnasError, match="nao needs best"):
            NAO(SPACE, rng, Climber, **wrong)  # type: ignore[arg-type]
