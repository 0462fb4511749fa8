"""Cuts of a supernet's space: groupings by brute force, and what gradient matching measures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from graphnas.errors import GraphnasError
from graphnas.oneshot.splitting import Given, GradientMatching, Random, apart, best_grouping, groupings, splitter
from graphnas.oneshot.supernet import Supernet
from graphnas.region import Region
from graphnas.tasks.image import ImageTask
from spaces import nasbench201

SPACE = nasbench201.space()
WHOLE = Region.whole(SPACE)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(48, 1, 8, 8)).astype(np.float32), np.arange(48) % 4
    return ImageTask((x[:32], y[:32]), (x[32:], y[32:]), name="noise", classes=4, batch_size=16)


@pytest.fixture(scope="module")
def supernet(task):
    return Supernet(SPACE, task.signature, seed=0, channels=2, cells=1)


@pytest.mark.parametrize(("count", "parts", "stirling"), [(3, 2, 3), (5, 2, 15), (6, 3, 90), (8, 2, 127), (4, 4, 1)])
def test_groupings_are_all_partitions_once(count, parts, stirling):
    found = [frozenset(map(frozenset, groups)) for groups in groupings(count, parts)]
    assert len(found) == len(set(found)) == stirling
    assert all(sorted(i for group in groups for i in group) == list(range(count)) for groups in found)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("parts", [2, 3])
def test_the_grouping_is_the_greatest_cut_by_brute_force(seed, parts):
    count = 4 + seed % 3
    rng = np.random.default_rng(seed)
    matrix = rng.random((count, count))
    matrix = np.triu(matrix, 1) + np.triu(matrix, 1).T
    groups, between = best_grouping(matrix, parts)
    best = max(
        sum(matrix[i, j] for i in range(count) for j in range(i) if labels[i] != labels[j])
        for labels in itertools.product(range(parts), repeat=count)
        if len(set(labels)) == parts
    )
    assert between == pytest.approx(best)
    own = {i: g for g, group in enumerate(groups) for i in group}
    assert between == pytest.approx(sum(matrix[i, j] for i in range(count) for j in range(i) if own[i] != own[j]))


def test_options_that_agree_can_stay_together():
    vectors = np.random.default_rng(0).normal(size=(4, 7))
    gradients = [{"w": torch.tensor(vectors[i]).view(1, -1)} for i in (0, 1, 0, 2, 3)]  # options 0 and 2 agree
    matrix = np.array([[apart(a, b, "cosine") for b in gradients] for a in gradients])
    best = best_grouping(matrix, 2)[1]
    together = [
        sum(matrix[i, j] for i in range(5) for j in range(i) if labels[i] != labels[j])
        for labels in itertools.product(range(2), repeat=5)
        if len(set(labels)) == 2 and labels[0] == labels[2]
    ]
    assert best == pytest.approx(max(together))


def test_dissimilarity_of_known_gradients():
    first = {"a": torch.tensor([[1.0, 0.0], [0.0, 2.0]]), "b": torch.tensor([[3.0, 4.0]])}
    second = {"a": torch.tensor([[0.0, 5.0], [0.0, -1.0]]), "b": torch.tensor([[6.0, 8.0]])}
    assert apart(first, second, "cosine") == pytest.approx(1 + 2 + 0)
    dot, norms = -2 + 50.0, (1 + 4 + 25) ** 0.5 * (25 + 1 + 100) ** 0.5
    assert apart(first, second, "whole") == pytest.approx(1 - dot / norms)
    assert apart(first, second, "squared") == pytest.approx((1 + 25 + 0 + 9 + 9 + 16) / 6)
    scaled = {name: 7 * g for name, g in second.items()}
    assert apart(first, scaled, "cosine") == pytest.approx(apart(first, second, "cosine"))
    still = {"a": torch.zeros(2, 2), "b": torch.zeros(1, 2)}
    assert apart(still, still, "cosine") == 0  # what no option moves cannot disagree
    assert apart(first, {"b": first["b"]}, "cosine") == pytest.approx(2)


def test_gradient_matching_measures_what_torch_measures(supernet, task):
    matching = GradientMatching(repeats=1, batch=16)
    region = Region(((1, 3), (2,), (3,), (2,), (1,), (3,)))
    matrix = matching.dissimilarity(supernet, region, 0, task, 4)
    from graphnas.oneshot.task_streams import streams_of

    index = int(np.random.default_rng([4, 17, 0]).integers(2**31))
    batch = streams_of(task, 16, None, 4).inner(index).batch
    found = []
    for option in (1, 3):
        child = supernet.child(SPACE.decode([option, 2, 3, 2, 1, 3])).train()
        torch.nn.functional.cross_entropy(child(*batch.inputs), batch.target).backward()
        found.append({name: p.grad for name, p in child.named_parameters() if p.ndim > 1 and ".node1." not in name})
    assert set(found[0]) == set(found[1])
    expected = sum(
        float((1 - torch.cosine_similarity(found[0][n].flatten(1), found[1][n].flatten(1), dim=1)).sum())
        for n in found[0]
    )
    assert matrix[0, 1] == matrix[1, 0] == pytest.approx(expected, rel=1e-4)
    assert matrix[0, 0] == matrix[1, 1] == 0


def test_gradient_matching_cuts_a_region_and_leaves_the_supernet_alone(supernet, task):
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    region = Region(((0, 1, 2, 3, 4), (3,), (1, 2), (2,), (4,), (3,)))
    matching = GradientMatching(repeats=2, batch=16)
    cuts = matching.cuts(supernet, region, task, 0)
    assert [cut.place for cut in cuts] == [0, 2]
    parts = matching(supernet, region, task, 0)
    best = max(cuts, key=lambda cut: cut.score)
    assert sorted(part.options[best.place] for part in parts) == sorted(best.groups)
    assert sum(part.writings for part in parts) == region.writings
    assert matching(supernet, region, task, 0) == parts
    assert all(torch.equal(before[name], value) for name, value in supernet.state_dict().items())


def test_given_and_random_splits(supernet, task):
    parts = Given(("0->1", "2->3"))(supernet, WHOLE, task, 0)
    assert len(parts) == 25
    assert all(len(part.options[0]) == len(part.options[5]) == 1 for part in parts)
    drawn = {str(Random()(supernet, WHOLE, task, seed)) for seed in range(30)}
    assert len(drawn) == 6  # every decision comes up
    assert splitter("0->1,2->3") == splitter(["0->1", "2->3"]) == Given(("0->1", "2->3"))
    assert splitter("gradient") == GradientMatching()


def test_what_cannot_be_split_is_told(supernet, task):
    single = Region(tuple((0,) for _ in SPACE.choices))
    with pytest.raises(GraphnasError, match="split less often"):
        GradientMatching()(supernet, single, task, 0)
    with pytest.raises(GraphnasError, match="8"):
        best_grouping(np.zeros((9, 9)), 2)
    with pytest.raises(GraphnasError, match="measure"):
        GradientMatching(measure="angle")
