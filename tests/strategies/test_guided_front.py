"""Guided search on several objectives: its directions make up the hypervolume, and what a search with it finds."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from graphnas.architecture import Architecture, node
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.hypervolume import hypervolume
from graphnas.search import Search
from graphnas.space import Choice, Space
from graphnas.strategies.guided_front import GuidedFront, random_direction, scalarised

OPTIONS = {"predictor_options": {"features": "one_hot", "trees": 20}, "candidates": 60, "growth": 1.3}
NODES = [node("input"), *(node(Choice(f"op{i}", tuple("abcd"), "op"), (i,)) for i in range(6)), node("output", (6,))]
SPACE = Space("chain6", NODES)
WEIGHTS = np.random.default_rng(5).uniform(0.1, 1.0, size=(2, 6, 4))


def figures(decisions: tuple[int, ...]) -> tuple[float, float]:
    quality = math.sqrt(sum(WEIGHTS[0, i, : d + 1].sum() for i, d in enumerate(decisions)))
    return quality, float(sum(WEIGHTS[1, i, : d + 1].sum() for i, d in enumerate(decisions)))


class TwoFigures(Estimator):
    name, space, metric, cheap, batch = "two figures", SPACE, "quality", True, 5

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        quality, cost = figures(SPACE.encode(architecture))
        return Evaluation(quality, {"latency": cost})


@pytest.mark.parametrize("m", [2, 3, 4])
def test_the_mean_over_directions_is_the_hypervolume(m: int) -> None:
    """Golovin & Zhang (2020), lemma 5: with the volume of the unit ball's positive part as the constant."""
    rng = np.random.default_rng(m)
    points = rng.random((12, m))
    directions = [random_direction(m, rng) for _ in range(6_000)]
    reach = np.array([max(0.0, float(scalarised(points, w).max())) ** m for w in directions])
    constant = math.pi ** (m / 2) / (2**m * math.gamma(m / 2 + 1))
    error = constant * reach.std() / math.sqrt(len(reach))
    assert constant * reach.mean() == pytest.approx(hypervolume(points, np.zeros(m)), abs=4 * error)


def test_directions_are_uniform_on_the_sphere() -> None:
    rng = np.random.default_rng(0)
    angles = np.array([math.atan2(*random_direction(2, rng)) for _ in range(4000)]) / (math.pi / 2)
    assert (
        (np.histogram(angles, 10, (0, 1))[0] - 400) ** 2 / 400
    ).sum() < 28  # chi-square, 9 degrees of freedom, 0.001


def test_it_finds_more_of_the_front_than_random_search() -> None:
    every = np.array([figures(d) for d in itertools.product(range(4), repeat=6)]) * [1, -1]
    reference = every.min(axis=0)
    shares: dict[str, list[float]] = {}
    for name, options in (("guided_front", OPTIONS), ("random", {})):
        for seed in range(2):
            result = Search(
                SPACE, TwoFigures(), name, budget=80, seed=seed, objectives="quality,-latency", options=options
            ).run()
            found = np.array([[t.score, -t.metrics["latency"]] for t in result.trials])
            shares.setdefault(name, []).append(hypervolume(found, reference) / hypervolume(every, reference))
    assert np.mean(shares["guided_front"]) > np.mean(shares["random"]) + 0.02


def test_limits_that_almost_nothing_keeps_are_found() -> None:
    limit = sorted(figures(d)[1] for d in itertools.product(range(4), repeat=6))[9]  # ten of 4,096 keep it
    given: dict[str, Any] = {"objectives": "quality", "constraints": [f"latency<={limit!r}"], "options": OPTIONS}
    result = Search(SPACE, TwoFigures(), "guided_front", budget=100, **given).run()
    assert sum(t.metrics["latency"] <= limit for t in result.trials) >= 3


def test_bad_arguments_are_refused_in_a_line() -> None:
    with pytest.raises(GraphnasError, match="guided_front needs initial >= 2"):
        GuidedFront(SPACE, np.random.default_rng(0), initial=1)
    with pytest.raises(GraphnasError, match="does not report 'energy'"):
        Search(SPACE, TwoFigures(), "guided_front", objectives="quality,-energy", budget=5).run()
