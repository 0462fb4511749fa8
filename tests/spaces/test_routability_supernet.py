"""Supernets of the routability spaces: one-hot weights give the decided network, dead vertices and absent links included."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from graphnas.architecture import node
from graphnas.oneshot.repair import likeliest
from graphnas.oneshot.supernet import Supernet
from graphnas.space import Choice, Space
from graphnas.tasks.base import Signature
from spaces import routability

SPACES = {"nets": (routability.nets(), "image"), "hotspots": (routability.hotspots(), "map")}


@pytest.fixture(scope="module", params=SPACES)
def case(request):
    space, kind = SPACES[request.param]
    return space, Supernet(space, Signature(kind, (2, 8, 8), 1), seed=0, channels=3)


@pytest.fixture(scope="module")
def maps():
    return torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def sparse(space, seed):
    """A member with few edges, so that vertices are dead at either end."""
    rng = np.random.default_rng(seed)
    for _ in range(10_000):
        made = tuple(int(rng.random() < 0.3) if c.group != "op" else int(rng.integers(7)) for c in space.choices)
        if space.is_valid(made):
            return space.decode(made)
    raise AssertionError


@pytest.mark.parametrize("training", [True, False])
def test_one_hot_weights_give_the_child_with_the_same_weights(case, maps, training):
    space, supernet = case
    for name, buffer in supernet.named_buffers():  # running statistics that tell one normalisation from another
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=torch.Generator().manual_seed(len(name))) / 4)
    supernet.train(training)
    members = [sparse(space, seed) for seed in range(4)] + [space.sample(np.random.default_rng(1))]
    for architecture in members:
        child, hot = supernet.child(architecture), supernet.one_hot(architecture)
        torch.testing.assert_close(supernet(maps, mix=hot), child(maps), rtol=1e-5, atol=1e-6)
        assert supernet.decode(hot) == architecture


def test_weights_reach_every_edge_operation_and_link(case, maps):
    _, supernet = case
    generator = torch.Generator().manual_seed(0)
    mix = {g.name: torch.rand(g.shape, generator=generator).softmax(-1).requires_grad_() for g in supernet.groups}
    loss = supernet.train()(maps, mix=mix).square().sum()
    for name, gradient in zip(mix, torch.autograd.grad(loss, list(mix.values())), strict=True):
        used = gradient if name == "op" else gradient[:, 1]  # an edge that is not there has no other effect
        assert bool((used.abs() > 0).all()), name


def test_a_search_step_on_a_small_batch_moves_every_group(case, maps):
    space, supernet = case
    alpha = {g.name: torch.zeros(g.shape, requires_grad=True) for g in supernet.groups}
    target = torch.ones_like(supernet(maps, mix={name: a.softmax(-1) for name, a in alpha.items()}).detach())
    output = supernet.train()(maps, mix={name: a.softmax(-1) for name, a in alpha.items()})
    optimiser = torch.optim.Adam([*alpha.values(), *supernet.parameters()], 0.01)
    (output - target).square().mean().backward()
    optimiser.step()
    assert all(bool(a.any()) for a in alpha.values())
    with torch.no_grad():
        for p in supernet.parameters():
            assert bool(torch.isfinite(p).all())
    assert space.contains(supernet.decode({name: a.detach().softmax(-1) for name, a in alpha.items()}))


def test_decisions_that_break_the_rule_become_the_likeliest_that_keep_it(case):
    space, supernet = case
    mix = {g.name: torch.full(g.shape, 1 / g.shape[1]) for g in supernet.groups}
    mix["edge"] = torch.tensor([0.9, 0.1]).repeat(len(mix["edge"]), 1)  # no edge anywhere: no path in any stage
    direct = [i for i, c in enumerate(c for c in space.choices if c.group == "edge") if c.name.endswith("0->out")]
    chosen = space.describe(supernet.decode(mix))
    assert [name for name, option in chosen.items() if "->" in name and option == 1 and "link" not in name] == [
        f"stage{s}.0->out" for s in (1, 2, 3)
    ]
    mix["edge"][direct[1]] = torch.tensor([1 - 1e-9, 1e-9])  # a longer path is likelier than this edge
    chosen = space.describe(supernet.decode(mix))
    second = [name for name, option in chosen.items() if name.startswith("stage2") and "->" in name and option == 1]
    assert second == ["stage2.0->1", "stage2.1->out"]


def even(decisions):
    return sum(decisions) % 2 == 0 and decisions[0] != 1


@pytest.mark.parametrize("seed", range(5))
def test_the_likeliest_valid_decisions_are_those_of_enumeration(seed):
    choices = [Choice(f"c{i}", tuple(f"o{k}" for k in range(2 + i % 3))) for i in range(5)]
    nodes = [node("input"), *(node(c, (i,)) for i, c in enumerate(choices)), node("output", (5,))]
    space = Space("even", nodes, valid=even)
    rng = np.random.default_rng(seed)
    weights = [rng.dirichlet(np.ones(len(c.options))).tolist() for c in choices]
    every = itertools.product(*(range(len(c.options)) for c in choices))
    best = max(filter(even, every), key=lambda d: math.prod(w[k] for w, k in zip(weights, d, strict=True)))
    assert likeliest(space, weights) == best
