"""The routability spaces: their number, their rule, and networks against the same network written by hand."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphnas.compile import compile
from graphnas.cost import cost
from graphnas.errors import GraphnasError
from graphnas.ops.map_modules import MixedDepthwise
from graphnas.ops.maps import split
from graphnas.tasks.base import Signature
from spaces import routability

MAP = Signature("map", (5, 16, 24), 1)


def test_numbers_of_writings() -> None:
    pairs = [(u, v) for v in range(1, 6) for u in range(v)]
    rng = np.random.default_rng(0)
    connected = []
    for bits in rng.integers(0, 2, (3000, 15)):
        graph = nx.DiGraph([pair for pair, bit in zip(pairs, bits, strict=True) if bit])
        connected.append(graph.has_node(0) and graph.has_node(5) and nx.has_path(graph, 0, 5))
    share = routability.connected_stages() / 2**15
    assert abs(np.mean(connected) - share) < 4 * (share * (1 - share) / 3000) ** 0.5
    assert routability.nets().size == routability.connected_stages() ** 3 * 7**12
    assert routability.hotspots().size == routability.nets().size * 2**4


def test_the_rule_is_a_path_in_every_stage() -> None:
    space = routability.nets()
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(300):
        decisions = tuple(int(rng.integers(r)) for r in space.radices)
        graphs = [nx.DiGraph() for _ in range(3)]
        for graph in graphs:
            graph.add_nodes_from([0, "out"])
        for choice, made in zip(space.choices, decisions, strict=True):
            if choice.group == "edge" and made:
                stage, _, edge = choice.name.partition(".")
                u, v = edge.split("->")
                graphs[int(stage[-1]) - 1].add_edge(int(u), v if v == "out" else int(v))
        connected = all(nx.has_path(graph, 0, "out") for graph in graphs)
        assert space.is_valid(decisions) == connected
        seen.add(connected)
    assert seen == {True, False}


def chosen(space: routability.Space, **named: str | int) -> tuple[int, ...]:
    """Decisions by name; edges and links that are not named are absent."""
    values = {name.replace("_to_", "->").replace("__", "."): value for name, value in named.items()}
    return tuple(c.options.index(values.get(c.name, c.options[0])) for c in space.choices)


def test_a_network_is_the_one_that_the_decisions_say() -> None:
    """Stage 1: conv3 and a dilated convolution joined; stage 2 the input alone; stage 3 pooling after a sum; one link."""
    space = routability.hotspots()
    decisions = chosen(
        space,
        stage1__0_to_1=1, stage1__1_to_out=1, stage1__0_to_2=1, stage1__2_to_out=1, stage1__op1="conv3", stage1__op2="atrous2",
        stage2__0_to_out=1,
        stage3__0_to_1=1, stage3__0_to_3=1, stage3__1_to_3=1, stage3__3_to_out=1, stage3__op1="mixed", stage3__op3="max_pool",
        link1_to_2=1,
    )  # fmt: skip
    network = compile(space.network(space.decode(decisions), MAP, channels=6), seed=0).eval()
    layers = dict(network.named_modules())

    def of(kind: str) -> list[nn.Module]:
        return [m for name, m in layers.items() if name.endswith(f".{kind}") and name.count(".") <= 1]

    def at(kind: str, number: int = 0) -> nn.Module:
        return of(kind)[number]

    x = torch.randn(2, 5, 16, 24, generator=torch.Generator().manual_seed(0))

    def by_hand(x: Tensor) -> Tensor:
        x = layers["stem"](x)
        first = at("join", 0)(torch.cat([at("conv3")(x), at("atrous2")(x)], 1))
        second = at("join", 1)(at("reduce", 0)(functional.max_pool2d(first, 2)))
        third = at("reduce", 1)(functional.max_pool2d(second, 2))
        third = at("join", 2)(functional.max_pool2d(third + at("mixed")(third), 3, 1, 1))
        up = functional.interpolate(third, scale_factor=2, mode="nearest")
        up = at("join", 3)(torch.cat([up, functional.avg_pool2d(first, 2)], 1))
        up = at("join", 4)(functional.interpolate(up, scale_factor=2, mode="nearest"))
        return layers["head.score"](up)

    assert [len(of(kind)) for kind in ("conv3", "atrous2", "mixed", "join", "reduce", "max_pool")] == [1, 1, 1, 5, 2, 1]
    torch.testing.assert_close(network(x), by_hand(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("task", ["nets", "hotspots"])
def test_all_members_give_outputs_of_the_right_shape_and_cost(task: str) -> None:
    space = getattr(routability, task)()
    signature = MAP if task == "hotspots" else Signature("image", (5, 16, 24), 1)
    rng = np.random.default_rng(2)
    for _ in range(5):
        network = space.network(space.sample(rng), signature, channels=4)
        module = compile(network, seed=0)
        assert module(torch.randn(2, 5, 16, 24)).shape == ((2, 1, 16, 24) if task == "hotspots" else (2, 1))
        assert cost(network).params == sum(p.numel() for p in module.parameters())


def test_mixed_depthwise_convolutions_keep_their_groups_apart() -> None:
    torch.manual_seed(0)
    module = MixedDepthwise(7, (3, 5, 7))
    assert module.sizes == [3, 2, 2]
    x = torch.randn(1, 7, 9, 9)
    whole = module(x)
    for channel, kernel in zip(range(7), itertools.chain([3] * 3, [5] * 2, [7] * 2), strict=False):
        one = torch.zeros_like(x)
        one[:, channel] = x[:, channel]
        alone = module(one)
        torch.testing.assert_close(alone[:, channel], whole[:, channel])
        assert not alone[:, [c for c in range(7) if c != channel]].any()
        impulse = torch.zeros(1, 7, 9, 9)
        impulse[0, channel, 4, 4] = 1
        assert int((module(impulse)[0, channel] != 0).sum()) == kernel * kernel
    with pytest.raises(GraphnasError, match="at least 3 channels, not 2"):
        split(2, 3)
