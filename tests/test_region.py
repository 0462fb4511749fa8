"""Regions cut a space exactly: disjoint, complete, and drawn from uniformly."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from graphnas.architecture import node
from graphnas.canonical import Semantics
from graphnas.errors import GraphnasError
from graphnas.region import Partition, Region, place_of
from graphnas.space import Choice, Space
from spaces import nasbench201

SPACE = nasbench201.space()


def everything(space):
    return sorted(space.encode(a) for a in space.enumerate())


def of_regions(space, partition):
    return [[space.encode(a) for a in region.enumerate(space)] for region in partition.regions]


@pytest.mark.parametrize(("edges", "parts", "each"), [(["0->1"], 5, 3125), (["0->1", "2->3"], 25, 625)])
def test_the_exhaustive_split_has_the_published_sizes_and_covers_all_once(edges, parts, each):
    partition = Partition.exhaustive(SPACE, edges)
    members = of_regions(SPACE, partition)
    assert [len(part) for part in members] == [each] * parts
    assert sorted(d for part in members for d in part) == everything(SPACE)


def test_a_binary_split_has_6250_and_9375_architectures():
    partition = Partition(SPACE).split(0, place_of(SPACE, "1->3"), [[0, 4], [1, 2, 3]])
    assert [region.writings for region in partition.regions] == [6250, 9375]


@pytest.mark.parametrize("seed", range(2))
def test_any_tree_of_splits_is_a_partition_and_routes_every_architecture(seed):
    rng, partition = np.random.default_rng(seed), Partition(SPACE)
    for _ in range(6):
        number = int(rng.integers(len(partition)))
        place = int(rng.choice(partition.regions[number].open))
        options = rng.permutation(partition.regions[number].options[place])
        cut = int(rng.integers(1, len(options)))
        partition = partition.split(number, place, [options[:cut].tolist(), options[cut:].tolist()])
    counts = Counter()
    for architecture in SPACE.enumerate():
        decisions = SPACE.encode(architecture)
        held = [i for i, region in enumerate(partition.regions) if region.contains(decisions)]
        assert held == [partition.region(architecture)]
        counts[held[0]] += 1
    assert [counts[i] for i in range(len(partition))] == [region.writings for region in partition.regions]


def small(distinct, valid=None):
    first, second = (Choice(name, ("none", "skip", "conv"), "op") for name in "ab")
    nodes = [node("input"), node(first, [0]), node(second, [0]), node("sum", [1, 2]), node("output", [3])]
    semantics = Semantics(zero_ops=frozenset({"none"}), identity_ops=frozenset({"skip"}))
    return Space("small", nodes, semantics=semantics, distinct=distinct, valid=valid)


@pytest.mark.parametrize("distinct", [False, True])
def test_rules_and_distinct_writings_are_kept(distinct):
    space = small(distinct, valid=lambda d: d != (2, 2))
    partition = Partition.exhaustive(space, ["a"])
    members = of_regions(space, partition)
    assert sorted(d for part in members for d in part) == everything(space)
    rng = np.random.default_rng(0)
    for region, part in zip(partition.regions, members, strict=True):
        if part:
            assert {space.encode(region.sample(space, rng)) for _ in range(200)} == set(part)


def test_draws_are_uniform_over_a_region():
    region = Region(((0, 3), (1,), (0, 1, 2, 3, 4), (2,), (1, 4), (0,)))
    rng = np.random.default_rng(1)
    counts = Counter(SPACE.encode(region.sample(SPACE, rng)) for _ in range(4000))
    assert len(counts) == region.writings == 20
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_wrong_splits_are_told():
    whole = Region.whole(SPACE)
    for groups in ([[0, 1], [1, 2, 3, 4]], [[0, 1], [2, 3]], [[0, 1, 2, 3, 4], []]):
        with pytest.raises(GraphnasError, match="exactly once"):
            whole.split(0, groups)
    with pytest.raises(GraphnasError, match="no region 1"):
        Partition(SPACE).split(1, 0, [[0], [1, 2, 3, 4]])
    with pytest.raises(GraphnasError, match="0->9"):
        place_of(SPACE, "0->9")
