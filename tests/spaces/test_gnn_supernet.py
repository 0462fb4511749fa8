"""Supernets of the AGNN and GraphNAS spaces: all functions of the layers, one width and one number of heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphnas.errors import GraphnasError
from graphnas.oneshot.gradient_search import GradientSearch
from graphnas.oneshot.supernet import Supernet
from graphnas.tasks.base import Signature
from graphnas.tasks.node import NodeTask
from spaces.gnn import agnn, graphnas_space
from spaces.gnn_functions import HEADS, WIDTH

SIGNATURE = Signature("node", (7,), 3, 12, 30)
SPACES = {"agnn": agnn(), "graphnas": graphnas_space(), "deep": agnn(3, batch_norm=True)}


@pytest.fixture(scope="module")
def graph():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 7, generator=generator), torch.randint(12, (2, 30), generator=generator)


@pytest.fixture(scope="module", params=SPACES)
def case(request):
    return SPACES[request.param], Supernet(SPACES[request.param], SIGNATURE, seed=0, dropout=0.0, attention_dropout=0.0)


def member(space, seed):
    """A member of the supernet's width, decisions otherwise drawn."""
    chosen = space.describe(space.sample(np.random.default_rng(seed)))
    fixed = {"width": WIDTH, "heads": HEADS}
    values = [fixed.get(c.group, chosen[c.name]) for c in space.choices]
    return space.decode([c.options.index(v) for c, v in zip(space.choices, values, strict=True)])


@pytest.mark.parametrize("training", [True, False])
def test_one_hot_weights_give_the_child_with_the_same_weights(case, graph, training):
    space, supernet = case
    supernet.train(training)
    for seed in range(3):
        architecture = member(space, seed)
        child, hot = supernet.child(architecture), supernet.one_hot(architecture)
        torch.testing.assert_close(supernet(*graph, mix=hot), child(*graph), rtol=0, atol=1e-5 if training else 1e-6)
        assert supernet.decode(hot) == architecture
        plain = space.network(architecture, SIGNATURE, dropout=0.0, attention_dropout=0.0)
        assert {n.get("name") for n in plain} >= {"layer1.conv", "layer2.conv"}


def test_an_activation_is_mixed_behind_the_mixed_functions(graph):
    supernet = Supernet(graphnas_space(1), SIGNATURE, seed=0, dropout=0.0, attention_dropout=0.0).eval()
    architecture = member(graphnas_space(1), 0)
    hot = supernet.one_hot(architecture)
    hot["activation"] = torch.zeros_like(hot["activation"])
    hot["activation"][0, supernet.groups[-1].options.index("linear")] = 1.0
    x = supernet(*graph, mix=hot)
    mixed = {**hot, "activation": hot["activation"].clone()}
    mixed["activation"][0, supernet.groups[-1].options.index("relu")] = 0.5
    torch.testing.assert_close(supernet(*graph, mix=mixed), x + 0.5 * x.relu())


def test_weights_reach_every_group_of_functions(case, graph):
    _, supernet = case
    mix = {g.name: torch.full(g.shape, 1 / g.shape[1], requires_grad=True) for g in supernet.groups}
    assert set(mix) == {c.group for c in supernet.original.choices} - {"width", "heads"}
    loss = supernet(*graph, mix=mix).square().sum()
    for name, gradient in zip(mix, torch.autograd.grad(loss, list(mix.values())), strict=True):
        assert bool((gradient.abs() > 0).all()), name


def test_a_search_ends_with_a_member_of_the_space(graph):
    x, edges = graph
    at = torch.arange(12)
    masks = {"train_mask": at < 8, "val_mask": (at >= 8) & (at < 10), "test_mask": at >= 10}
    task = NodeTask(Data(x=x, edge_index=edges, y=at % 3, **masks))
    search = GradientSearch(agnn(), task, None, "darts1", epochs=1, steps=2, batch=4)
    search.run()
    chosen = agnn().describe(search.derived)
    assert {chosen["width1"], chosen["width2"], chosen["heads1"], chosen["heads2"]} == {8}


def test_other_widths_and_links_are_refused_in_one_line():
    supernet = Supernet(agnn(), SIGNATURE, 0)
    wide = {**agnn().describe(member(agnn(), 0)), "width1": 64}
    architecture = agnn().decode([c.options.index(wide[c.name]) for c in agnn().choices])
    with pytest.raises(GraphnasError, match=r"width1 is 64, .* not searched by gradients") as caught:
        supernet.child(architecture)
    assert "\n" not in str(caught.value)
    for links in ({"residual": True}, {"jumping_knowledge": True}):
        with pytest.raises(GraphnasError, match="holds plain chains: leave out the links of space 'agnn-"):
            Supernet(agnn(**links), SIGNATURE)
