"""Sampling is uniform, by chi-square against what ``enumerate`` yields."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2

from graphnas import registry
from graphnas.architecture import node
from graphnas.space import Choice, Space
from spaces.nasbench101 import small_space


def p_value(counts: np.ndarray, expected: np.ndarray) -> float:
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1))


@pytest.mark.parametrize("name", ["nasbench201", "nasbench_graph"])
def test_sampling_is_uniform(name: str) -> None:
    """40,000 draws in 200 random groups of architectures."""
    space = registry.get_space(name)
    group = np.random.default_rng(1).integers(0, 200, size=space.size)
    place = {tuple(row): i for i, row in enumerate(space.representatives.tolist())}
    rng = np.random.default_rng(2)
    draws = [place[space.encode(space.sample(rng))] for _ in range(40_000)]
    expected = np.bincount(group, minlength=200) * len(draws) / space.size
    assert p_value(np.bincount(group[draws], minlength=200), expected) > 1e-3


@pytest.mark.parametrize("vertices", [3, 4])
def test_a_distinct_space_is_uniform_over_classes_not_writings(vertices: int) -> None:
    space = small_space(vertices)
    rng = np.random.default_rng(3)
    counts = Counter(space.key(space.sample(rng)) for _ in range(100 * space.size))
    assert len(counts) == space.size
    assert p_value(np.array(list(counts.values())), np.full(space.size, 100.0)) > 1e-3


def test_rejection_keeps_sampling_uniform_over_valid_writings() -> None:
    """Permutations among the 4^4 words: 24 of 256 are valid."""
    inner = [node(Choice(f"c{i}", tuple("abcd"), "op"), (i,)) for i in range(4)]
    space = Space("words", [node("input"), *inner, node("output", (4,))], valid=lambda d: len(set(d)) == 4)
    assert space.size == math.factorial(4)
    rng = np.random.default_rng(4)
    counts = Counter(space.encode(space.sample(rng)) for _ in range(2400))
    assert set(counts) == {space.encode(a) for a in space.enumerate()}
    assert p_value(np.array(list(counts.values())), np.full(24, 100.0)) > 1e-3


def test_mutation_is_uniform_over_single_changes_and_crossover_over_children() -> None:
    space = registry.get_space("nasbench201")
    rng = np.random.default_rng(5)
    a, b = space.decode([0, 1, 2, 3, 4, 0]), space.decode([1, 2, 3, 4, 0, 1])
    near = Counter(space.encode(space.mutate(a, rng)) for _ in range(2400))
    assert len(near) == 24
    assert p_value(np.array(list(near.values())), np.full(24, 100.0)) > 1e-3
    children = Counter(space.encode(space.crossover(a, b, rng)) for _ in range(6400))
    assert len(children) == 64
    assert p_value(np.array(list(children.values())), np.full(64, 100.0)) > 1e-3
