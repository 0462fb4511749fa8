"""The evolution of supernet searches: its generations, what it never does, and that it finds the best."""

from __future__ import annotations

import numpy as np
import pytest

from graphnas.errors import GraphnasError
from graphnas.search import Search
from graphnas.strategies.base import Trial
from graphnas.strategies.single_path_evolution import SinglePathEvolution
from graphnas.testing.objective import AdditiveEstimator
from spaces import nasbench201

SPACE = nasbench201.space()
OPTIONS = {"population": 20, "top": 6, "mutants": 10, "crossovers": 6}


def tell(strategy, asked, score, start=0):
    trials = [Trial(start + i, a, SPACE.key(a), "complete", score(a)) for i, a in enumerate(asked)]
    strategy.tell(trials)


def weight(architecture):
    return float(sum(SPACE.encode(architecture)))


def generation(strategy):
    asked = []
    while len(asked) < strategy.population:
        asked += strategy.ask(7)[: strategy.population - len(asked)]
    return asked


def test_a_generation_is_mutants_then_crossovers_of_the_best_then_random():
    strategy = SinglePathEvolution(SPACE, np.random.default_rng(0), **OPTIONS)
    first = strategy.ask(20)
    assert len(first) == 20
    tell(strategy, first, weight)
    parents = [SPACE.encode(a) for a in sorted(first, key=weight, reverse=True)[:6]]
    second = [SPACE.encode(a) for a in strategy.ask(20)]
    for child in second[10:16]:
        assert any(
            all(c in pair for c, pair in zip(child, zip(a, b, strict=True), strict=True))
            for a in parents
            for b in parents
        )
    known = {SPACE.key(a) for a in first}
    assert not known & {SPACE.key(SPACE.decode(d)) for d in second}
    assert len({SPACE.key(SPACE.decode(d)) for d in second}) == 20
    near = [min(sum(x != y for x, y in zip(child, p, strict=True)) for p in parents) for child in second[:10]]
    assert np.mean(near) < 2  # of six decisions, with probability .1 each


def test_the_best_of_all_generations_are_the_parents():
    strategy = SinglePathEvolution(SPACE, np.random.default_rng(1), **OPTIONS)
    told = []
    for _ in range(5):
        asked = strategy.ask(20)
        tell(strategy, asked, weight, len(told))
        told += asked
    best = sorted((weight(a) for a in told), reverse=True)[:6]
    assert sorted((score for score, _, _ in strategy._best), reverse=True) == best


def test_no_mutant_gains_an_excluded_operation():
    strategy = SinglePathEvolution(SPACE, np.random.default_rng(2), mutation=1.0, never=["none"], **OPTIONS)
    parents = [tuple([0] * 6), tuple([1] * 6)]
    for _ in range(200):
        mutant = strategy._mutant(parents)
        assert 0 not in mutant  # every decision was drawn anew
    mixed = SinglePathEvolution(SPACE, np.random.default_rng(2), mutation=0.3, never=["none"], **OPTIONS)
    assert all(0 not in mixed._mutant([tuple([1] * 6)]) for _ in range(200))


def test_a_limit_is_kept_by_all():
    strategy = SinglePathEvolution(SPACE, np.random.default_rng(3), feasible=lambda a: weight(a) <= 9, **OPTIONS)
    for _ in range(4):
        asked = strategy.ask(20)
        assert all(weight(a) <= 9 for a in asked)
        tell(strategy, asked, weight)
    none = SinglePathEvolution(SPACE, np.random.default_rng(3), feasible=lambda a: False, **OPTIONS)
    with pytest.raises(GraphnasError, match="loosen the limit"):
        none.ask(1)


def test_it_finds_more_than_random_search():
    found = {}
    for name in ("random", SinglePathEvolution):
        options = OPTIONS if name is SinglePathEvolution else {}
        runs = [
            Search(SPACE, AdditiveEstimator(SPACE, s), name, options=options, budget=150, seed=s).run()
            for s in range(5)
        ]
        found[name] = np.mean([run.best.score for run in runs])
    assert found[SinglePathEvolution] > found["random"]


def test_wrong_options_are_told():
    rng = np.random.default_rng(0)
    with pytest.raises(GraphnasError, match="do not fit in a population"):
        SinglePathEvolution(SPACE, rng, population=10)
    with pytest.raises(GraphnasError, match="mutation"):
        SinglePathEvolution(SPACE, rng, mutation=0.0)
