"""The supernet of NAS-Bench-Graph: one-hot weights of links and operations give the decided network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eda.tile_graph import EXTRA
from graphnas import registry
from graphnas.architecture import node
from graphnas.cost import example_inputs
from graphnas.errors import GraphnasError
from graphnas.oneshot.opened import opened
from graphnas.oneshot.supernet import Supernet
from graphnas.space import Choice, Space
from graphnas.tasks.base import Signature
from spaces import nasbench_graph

SIGNATURE = Signature("node", (7,), 3, 12, 30)


@pytest.fixture(scope="module")
def graph():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 7, generator=generator), torch.randint(12, (2, 30), generator=generator)


@pytest.fixture(scope="module")
def supernet():
    made = Supernet(nasbench_graph.space(), SIGNATURE, seed=0, channels=4, dropout=0.0)
    for name, buffer in made.named_buffers():  # running statistics that tell one normalisation from another
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=torch.Generator().manual_seed(len(name) + ord(name[12]))))
    return made


@pytest.mark.parametrize("training", [True, False])
def test_one_hot_weights_give_the_child(supernet, graph, training):
    supernet.train(training)
    space, rng = nasbench_graph.space(), np.random.default_rng(0)
    skips = [[link, *ops] for link in range(9) for ops in ((8, 1, 8, 5), (8, 8, 7, 8), (0, 8, 8, 2), (8, 8, 8, 4))]
    for decisions in [space.encode(space.sample(rng)) for _ in range(10)] + skips[::2]:
        architecture = space.decode(decisions)
        hot = supernet.one_hot(architecture)
        child = supernet.child(architecture)  # before a training pass moves running means
        expected = child(*graph)
        torch.testing.assert_close(supernet(*graph, mix=hot), expected, rtol=0, atol=2e-6, msg=str(decisions))
        assert supernet.decode(hot) == architecture


def test_weights_that_are_not_one_hot_reach_links_and_operations(supernet, graph):
    generator = torch.Generator().manual_seed(1)
    mix = {g.name: torch.rand(g.shape, generator=generator).softmax(-1).requires_grad_() for g in supernet.groups}
    loss = supernet.train()(*graph, mix=mix).square().sum()
    for name, gradient in zip(mix, torch.autograd.grad(loss, list(mix.values())), strict=True):
        assert bool((gradient.abs() > 0).all()), name


def test_layers_with_too_many_choices_are_refused_with_the_reason():
    options = [Choice(f"c{i}", tuple(range(7)), f"g{i}") for i in range(3)]
    wide = [node("input"), node("linear", (0,), a=options[0], b=options[1], c=options[2]), node("output", (1,))]
    with pytest.raises(GraphnasError, match="more than 256 combinations: a supernet cannot hold them side by side"):
        opened(Space("wide", wide))


WITHOUT = {
    "nasbench101": "has no supernet",
    "enas6": "defines no networks",
    "mnasnet": "more than 256 combinations",
    "accel_nasbench": "search it by trials",
}


@pytest.mark.parametrize("name", registry.names("space"))
def test_every_space_has_a_supernet_or_one_line_that_says_why_not(name):
    space = registry.get_space(name)
    image = "image" in space.accepts
    kind = next((kind for kind in ("map", "text", "translation") if kind in space.accepts), "image")
    shape = {"text": (3,), "translation": (3, 3)}.get(kind, (3, 8, 8))
    extra = EXTRA if space.reads else ()
    signature = SIGNATURE if "node" in space.accepts else Signature(kind, shape, 3, extra=extra)
    small = {
        k: v for k, v in {"channels": 4, "cells": 1 if name == "nasbench201" else 3}.items() if k in space.network_size
    }
    if kind == "translation":
        small = {"width": 12, "embedding": 4, "heads": 2, "blocks": 1}
    if name in WITHOUT:
        with pytest.raises(GraphnasError, match=WITHOUT[name]) as caught:
            Supernet(space, signature, 0, **small)
        assert "\n" not in str(caught.value)
        return
    supernet = Supernet(space, signature, 0, **small)
    assert supernet.groups
    supernet.eval()
    inputs = [torch.randn(2, 3, 8, 8)] if image or kind == "map" else [torch.randn(12, 7), torch.randint(12, (2, 30))]
    if kind == "text":
        inputs = [torch.randint(3, (2, 3)), torch.zeros(2, 0)]
    if kind == "translation":
        inputs = [torch.randint(1, 3, (2, 3)), torch.randint(1, 3, (2, 3))]
    if extra:
        inputs = example_inputs(supernet.architecture, batch=2)
    architecture = space.sample(np.random.default_rng(0))
    if supernet.space.name.endswith("_functions"):  # layers of one width and number of heads only
        architecture = supernet.decode(supernet.one_hot(supernet.space.sample(np.random.default_rng(0))))
    outputs = []
    for network, mix in ((supernet.child(architecture), {}), (supernet, {"mix": supernet.one_hot(architecture)})):
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)  # of the noise of darts_s4
            output = network(*inputs, **mix)
            outputs.append(output[0] if isinstance(output, tuple) else output)
    torch.testing.assert_close(*outputs, rtol=0, atol=2e-6)
