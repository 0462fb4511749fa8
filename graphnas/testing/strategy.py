"""The rules that every Strategy keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from graphnas.architecture import Architecture
from graphnas.search import Search, trial_seed
from graphnas.space import Decisions, Space
from graphnas.strategies.base import Strategy, Trial
from graphnas.testing.objective import AdditiveEstimator
from graphnas.testing.rules import expect, global_randomness_restored, global_randomness_untouched

Make = Callable[[Space, np.random.Generator], Strategy]
Score = Callable[[Architecture, int], float]


def check_strategy(make: Make, space: Space, seed: int = 0, *, rounds: int = 12, batch: int = 3) -> None:
    """Check that a strategy keeps the rules of the search loop, on synthetic scores.

    Args:
        make: ``make(space, rng) -> Strategy``, such as the class itself; small settings (populations, warm-ups) let the
            check reach what comes after the start.
        space: any space.
        seed: of the strategy's generator and of the synthetic scores.
        rounds: how often to ask and tell.
        batch: how many architectures to ask for at a time.

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    objective = AdditiveEstimator(space, seed)

    def additive(a: Architecture, number: int) -> float:
        return objective.evaluate(a, seed=0).score

    landscapes: dict[str, Score] = {
        "distinct scores": additive,
        "tied scores": lambda a, number: float(round(additive(a, number))),
        "constant scores": lambda a, number: 0.25,
        "failed trials only": lambda a, number: math.nan,
        "every third trial failed": lambda a, number: math.nan if number % 3 == 0 else additive(a, number),
        "large scores": lambda a, number: 1e12 + additive(a, number),
    }
    with global_randomness_restored():  # modules that are imported at first use may draw random names
        unwatched = _Play(make(space, np.random.default_rng(seed)), space, additive, "distinct scores")
        for _ in range(rounds):
            unwatched.round(batch)
    with global_randomness_untouched("the strategy"):
        for name, score in landscapes.items():
            first = _Play(make(space, np.random.default_rng(seed)), space, score, name)
            second = _Play(make(space, np.random.default_rng(seed)), space, score, name)
            for _ in range(rounds):
                same = first.round(batch) == second.round(batch)
                expect(same, f"with {name}, the same seed and scores must give the same architectures")
        for moment in sorted({0, 1, rounds // 2, rounds}):
            for name in ("distinct scores", "every third trial failed"):
                _continues(make, space, seed, landscapes[name], name, moment, rounds, batch)
        _workers(make, space, seed, rounds * batch)


class _Play:
    """A strategy with its count of trials."""

    def __init__(self, strategy: Strategy, space: Space, score: Score, name: str) -> None:
        self.strategy, self.space, self.score, self.name = strategy, space, score, name
        self.number = 0

    def round(self, n: int) -> list[Decisions]:
        """Ask and tell once; the decisions of what was asked."""
        asked = self.strategy.ask(n)
        made = self._check(asked, n)
        trials = []
        for a in asked:
            score = self.score(a, self.number)
            status = "complete" if math.isfinite(score) else "failed"
            key, seed = self.space.key(a), trial_seed(0, self.number)
            trials.append(Trial(self.number, a, key, status, score, seed=seed, cost=1.0))
            self.number += 1
        if trials:
            self.strategy.tell(trials)
        return made

    def _check(self, asked: Sequence[Architecture], n: int) -> list[Decisions]:
        expect(len(asked) <= n, f"with {self.name}, ask({n}) returned {len(asked)} architectures")
        expect(asked or self.number, "the first ask must propose something")
        for a in asked:
            inside = self.space.contains(a) and self.space.is_valid(self.space.encode(a))
            expect(inside, f"with {self.name}, ask returned {a!r:.200}, which is not in the space")
        return [self.space.encode(a) for a in asked]


def _continues(
    make: Make, space: Space, seed: int, score: Score, name: str, moment: int, rounds: int, batch: int
) -> None:
    """A strategy that was saved after ``moment`` rounds and loaded into a new one goes on identically."""
    play = _Play(make(space, np.random.default_rng(seed)), space, score, name)
    for _ in range(moment):
        play.round(batch)
    state = play.strategy.state_dict()
    try:
        text = json.dumps(state)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"state_dict must consist of JSON values ({error})") from None
    other = _Play(make(space, np.random.default_rng(seed + 1)), space, score, name)
    other.strategy.load_state_dict(json.loads(text))
    other.number = play.number
    for _ in range(rounds):
        same = play.round(batch) == other.round(batch)
        expect(same, f"with {name}, the strategy goes on differently when saved after {moment} rounds and loaded again")


def _workers(make: Make, space: Space, seed: int, trials: int) -> None:
    """The number of workers changes nothing in a whole search."""
    keys = []
    for workers in (1, 3):
        estimator = AdditiveEstimator(space, seed, batch=4)
        with ThreadPoolExecutor(workers) as executor:
            strategy = make(space, np.random.default_rng(seed))
            found = Search(space, estimator, strategy, budget=trials, seed=seed, executor=executor).run()
        keys.append([trial.key for trial in found.trials])
    expect(keys[0] == keys[1], "the trials of a search must not depend on the number of workers")
