"""The checks that ship with graphnas accept what is right and name what is wrong."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eda.tile_graph import EXTRA
from graphnas import registry
from graphnas.architecture import Architecture, node
from graphnas.estimators.base import Evaluation
from graphnas.space import Choice, Decisions, Space
from graphnas.strategies.base import Trial
from graphnas.strategies.evolution import RegularisedEvolution
from graphnas.strategies.random_search import RandomSearch
from graphnas.tasks.base import Signature
from graphnas.testing import SMALL_OPTIONS, AdditiveEstimator, check_estimator, check_space, check_strategy
from graphnas.testing.rules import shuffled

SIGNATURES = {
    "image": Signature("image", (3, 8, 8), 10),
    "node": Signature("node", (12,), 3, 20, 40),
    "translation": Signature("translation", (5, 4), 11),
}
SMALL = {"channels": 8, "cells": 1}
OPS = ("a", "b", "c")


@pytest.mark.parametrize("name", registry.names("space"))
def test_registered_spaces_keep_the_rules(name: str) -> None:
    space = registry.get_space(name)
    kind = space.accepts[0] if space.accepts else None
    size = {k: v for k, v in SMALL.items() if k in space.network_size}
    if kind == "translation":
        size = {"width": 48, "embedding": 8, "blocks": 1}
    signature = SIGNATURES.get(kind or "")
    if signature is not None and space.reads:
        signature = replace(signature, extra=EXTRA)
    check_space(space, samples=10, signature=signature, size=size)


@pytest.mark.parametrize("name", registry.names("strategy"))
def test_registered_strategies_keep_the_rules(name: str) -> None:
    make = registry.find("strategy", name)
    small = SMALL_OPTIONS.get(name, {})
    check_strategy(lambda space, rng: make(space, rng, **small), registry.get_space("nasbench201"), rounds=8)


def chain(cls: type[Space] = Space, **options: Any) -> Space:
    """Three nodes in a row, each with one of three operations."""
    inner = [node(Choice(f"op{i}", OPS, "op"), (i,)) for i in range(3)]
    return cls("chain", [node("input"), *inner, node("output", (3,))], **options)


def first_two_differ(decisions: Decisions) -> bool:
    return decisions[0] != decisions[1]


def test_a_small_space_keeps_the_rules() -> None:
    check_space(chain())
    check_space(chain(valid=first_two_differ))
    with pytest.raises(AssertionError, match="must be picklable"):
        check_space(chain(valid=lambda d: d[0] != d[1]))


class TwoChanges(Space):
    def mutate(self, architecture: Architecture, rng: np.random.Generator, group: str | None = None) -> Architecture:
        return self.sample(rng)


class HalfTheNeighbours(Space):
    def neighbours(self, architecture: Architecture) -> Any:
        return itertools.islice(super().neighbours(architecture), 3)


class OrderMatters(Space):
    def key(self, architecture: Architecture) -> str:
        return repr(architecture.nodes)


class GloballyRandom(Space):
    def sample(self, rng: np.random.Generator) -> Architecture:
        return self.decode([random.randrange(3) for _ in self.radices])


class Miscounted(Space):
    @property
    def size(self) -> int:
        return 26


class Inventive(Space):
    def crossover(self, a: Architecture, b: Architecture, rng: np.random.Generator) -> Architecture:
        return self.sample(rng)


class Misread(Space):
    def encode(self, architecture: Architecture) -> Decisions:
        known = architecture.decisions_in(self)
        return super().encode(architecture) if known is not None else (0, 0, 0)


@pytest.mark.parametrize(
    ("cls", "rule"),
    [
        (TwoChanges, "mutate must change exactly one decision"),
        (HalfTheNeighbours, "neighbours of .* are not all valid single changes"),
        (GloballyRandom, "the same seed must give the same architectures"),
        (Miscounted, "size is 26"),
        (Inventive, "crossover must take every decision from a parent"),
        (Misread, "misread after a round trip through JSON"),
    ],
)
def test_a_broken_space_is_found(cls: type[Space], rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_space(chain(cls))


def test_a_key_that_depends_on_the_order_is_found() -> None:
    left, right = (Choice(name, OPS) for name in ("left", "right"))
    nodes = [node("input"), node(left, (0,)), node(right, (0,)), node("sum", (1, 2)), node("output", (3,))]
    check_space(Space("diamond", nodes))
    with pytest.raises(AssertionError, match=r"key changes when|another key"):
        check_space(OrderMatters("diamond", nodes))


class ForgetsItsPopulation(RegularisedEvolution):
    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "alive": []}


class StopsAtFailures(RandomSearch):
    def tell(self, trials: Sequence[Trial]) -> None:
        self.best = [round(10 * t.score) for t in trials]


class AsksTooMuch(RandomSearch):
    def ask(self, n: int) -> list[Architecture]:
        return super().ask(n + 1)


class UsesNumpysGenerator(RandomSearch):
    def ask(self, n: int) -> list[Architecture]:
        np.random.seed(7)  # noqa: NPY002
        return super().ask(n)


class KeepsAnArray(RandomSearch):
    def _state(self) -> dict[str, Any]:
        return {"seen": np.zeros(3)}


def small(cls: type[RegularisedEvolution]) -> Any:
    return lambda space, rng: cls(space, rng, population=4, sample=2)


@pytest.mark.parametrize(
    ("make", "error", "rule"),
    [
        (small(ForgetsItsPopulation), AssertionError, "goes on differently when saved"),
        (StopsAtFailures, ValueError, "NaN"),
        (AsksTooMuch, AssertionError, r"ask\(3\) returned 4"),
        (UsesNumpysGenerator, AssertionError, "global generator of numpy"),
        (KeepsAnArray, AssertionError, "JSON values"),
    ],
)
def test_a_broken_strategy_is_found(make: Any, error: type[Exception], rule: str) -> None:
    check_strategy(small(RegularisedEvolution), chain())
    with pytest.raises(error, match=rule):
        check_strategy(make, chain())


def test_a_foreign_architecture_is_found() -> None:
    class Elsewhere(RandomSearch):
        def ask(self, n: int) -> list[Architecture]:
            return [Architecture([node("input"), node("z", (0,)), node("output", (1,))])]

    with pytest.raises(AssertionError, match="not in the space"):
        check_strategy(Elsewhere, chain())


class Drifting(AdditiveEstimator):
    calls = 0

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        self.calls += 1
        return Evaluation(float(self.calls))


class Infinite(AdditiveEstimator):
    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        return Evaluation(float("inf"))


class Indescribable(AdditiveEstimator):
    def describe(self) -> dict[str, Any]:
        return {"name": "x", "weights": np.zeros(2)}


class OncePerProcess(AdditiveEstimator):
    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        import os

        return Evaluation(float(os.getpid()))


@pytest.mark.parametrize(
    ("cls", "rule"),
    [(Drifting, "the same architecture and seed gave"), (Infinite, "must be finite"), (Indescribable, "JSON values")],
)
def test_a_broken_estimator_is_found(cls: type[AdditiveEstimator], rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_estimator(cls(chain()))


def test_an_estimator_is_compared_with_a_new_process() -> None:
    check_estimator(AdditiveEstimator(chain()), fresh_process=True)
    check_estimator(OncePerProcess(chain()))
    with pytest.raises(AssertionError, match="a new process must give the same"):
        check_estimator(OncePerProcess(chain()), fresh_process=True)


def test_shuffling_reaches_every_topological_order() -> None:
    a = Architecture([node("input"), node("a", (0,)), node("b", (0,)), node("c", (0,)), node("output", (1, 2, 3))])
    rng = np.random.default_rng(0)
    orders = {tuple(n.op for n in shuffled(a, rng)) for _ in range(200)}
    assert orders == {("input", *middle, "output") for middle in itertools.permutations("abc")}
