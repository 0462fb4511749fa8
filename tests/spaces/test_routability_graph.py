"""Routability spaces with messages through nets: members, networks and supernets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphnas.architecture import Architecture
from graphnas.compile import compile
from graphnas.cost import cost, example_inputs
from graphnas.drawing import to_svg
from graphnas.errors import GraphnasError
from graphnas.export import python_source
from graphnas.oneshot.supernet import Supernet
from graphnas.ops.net_modules import NetMessage
from graphnas.space import Space
from graphnas.tasks.base import Extra, Signature
from graphnas.testing import check_space
from spaces import nasbench201, routability

EXTRA = (
    Extra("cells", (7, 3)),
    Extra("nets", (6, 4)),
    Extra("pins", (2, 9), ("cells", "nets")),
    Extra("places", (7,), ("x",)),
    Extra("covers", (2, 40), ("nets", "x")),
)
SPACES = {
    "nets": (routability.nets, routability.nets_graph, "image"),
    "hotspots": (routability.hotspots, routability.hotspots_graph, "map"),
}


def signature(kind: str, graph: bool = True) -> Signature:
    return Signature(kind, (5, 16, 8), 1, extra=EXTRA if graph else ())


@pytest.mark.parametrize("task", SPACES)
def test_the_space_has_one_operation_more_and_the_same_numbers_for_the_others(task: str) -> None:
    plain, graph, kind = (each() if callable(each) else each for each in SPACES[task])
    assert graph.size == routability.connected_stages() ** 3 * 8**12 * (16 if task == "hotspots" else 1)
    assert [c.options[:7] for c in graph.choices] == [c.options for c in plain.choices]
    rng = np.random.default_rng(0)
    for _ in range(5):
        a = plain.sample(rng)
        b = graph.decode(plain.encode(a))
        assert a == b
        assert graph.network(b, signature(kind)) == plain.network(a, signature(kind))


@pytest.mark.parametrize("task", SPACES)
def test_it_keeps_the_rules_of_spaces(task: str) -> None:
    _, graph, kind = SPACES[task]
    check_space(graph(), samples=10, signature=signature(kind), size={"channels": 4})


def with_nets(space: Space) -> Architecture:
    """A member with messages through nets at all three resolutions."""
    made = [1 if c.group != "op" else (7, 0, 4, 6)[i % 4] for i, c in enumerate(space.choices)]
    return space.decode(made)


@pytest.mark.parametrize("task", SPACES)
def test_networks_read_nets_at_every_resolution(task: str) -> None:
    _, find, kind = SPACES[task]
    space = find()
    member = with_nets(space)
    network = space.network(member, signature(kind), channels=4, **({"inside": 1} if task == "nets" else {}))
    module = compile(network, seed=0).eval()
    assert {m.factor for m in module.modules() if isinstance(m, NetMessage)} == {1, 2, 4}
    given = example_inputs(network, batch=2)
    first = module(*given)
    assert first.shape == ((2, 1) if task == "nets" else (2, 1, 16, 8))
    for i, other in enumerate(example_inputs(network, batch=2, seed=1)):
        changed = module(*given[:i], other, *given[i + 1 :])
        assert torch.equal(changed, first) == (i == 1)  # nothing reads the features of cells
    assert cost(network).params == sum(p.numel() for p in module.parameters())
    assert "<svg" in to_svg(network)
    made: dict[str, type] = {}
    exec(python_source(network), made)
    alone = made["Network"]()
    alone.load_state_dict(module.state_dict())
    torch.testing.assert_close(alone.eval()(*given), first)
    with pytest.raises(
        GraphnasError, match="that read nets, covers, pins, places beside x, which the task does not give"
    ):
        space.network(member, signature(kind, False))
    with pytest.raises(GraphnasError, match="take x alone, but the task gives cells, nets, pins, places, covers too"):
        nasbench201.space().check_inputs(signature(kind))


def test_all_arguments_are_taken_by_networks_that_do_not_read_them() -> None:
    member = routability.hotspots().sample(np.random.default_rng(0))
    network = routability.hotspots().network(member, signature("map", False), channels=4)
    expected = compile(network, seed=0).eval()
    for space in (routability.hotspots(), routability.hotspots_graph()):
        network = space.network(member, signature("map"), channels=4)
        module, given = compile(network, seed=0).eval(), example_inputs(network)
        assert torch.equal(module(*given), expected(given[0]))


@pytest.mark.parametrize("training", [True, False])
def test_one_hot_weights_of_the_supernet_give_the_child(training: bool) -> None:
    space = routability.hotspots_graph()
    supernet = Supernet(space, signature("map"), seed=0, channels=3).train(training)
    member = with_nets(space)
    given = example_inputs(space.network(member, signature("map"), channels=3), batch=2)
    rng = np.random.default_rng(4)
    for architecture in (member, space.sample(rng)):
        child, hot = supernet.child(architecture), supernet.one_hot(architecture)
        torch.testing.assert_close(supernet(*given, mix=hot), child(*given), rtol=1e-5, atol=1e-6)
    mix = {g.name: torch.full(g.shape, 1 / g.shape[1], requires_grad=True) for g in supernet.groups}
    (gradient,) = torch.autograd.grad(supernet(*given, mix=mix).square().sum(), [mix["op"]])
    assert bool((gradient.abs() > 0).all())
    with pytest.raises(GraphnasError, match="which the task does not give"):
        Supernet(space, signature("map", False), channels=3)
