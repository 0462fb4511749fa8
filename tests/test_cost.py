"""Costs: counted while torch runs the network, and by hand; latency tables are sums and survive hostile files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from graphnas import registry, timing
from graphnas.architecture import Architecture, node
from graphnas.compile import compile
from graphnas.cost import Cost, LatencyTable, cost, example_inputs
from graphnas.errors import GraphnasError
from graphnas.ops.registry import infer
from graphnas.tasks.base import Signature

IMAGE = Signature("image", (3, 12, 12), 5)
GRAPH = Signature("node", (12,), 3, nodes=30, edges=70)


def counted(module: nn.Module, inputs: list[torch.Tensor]) -> int:
    """Multiply-adds of convolutions and linear maps, counted by hooks while the network runs."""
    total = 0

    def hook(layer: nn.Module, _: Any, result: torch.Tensor) -> None:
        nonlocal total
        weight: Any = layer.weight
        each = weight[0].numel() + (layer.bias is not None)
        total += each * result.numel()

    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        module.eval()(*inputs)
    return total


@pytest.mark.parametrize("name", ["nasbench101", "nasbench201"])
def test_multiply_adds_are_those_that_torch_carries_out(name: str) -> None:
    space = registry.get_space(name)
    rng = np.random.default_rng(0)
    for _ in range(15):
        network = space.network(space.sample(rng), IMAGE, channels=8, cells=1)
        module = compile(network, seed=0)
        found = cost(network)
        assert found.macs == counted(module, example_inputs(network))
        assert found.params == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("op", "macs"),
    [
        ("gcn", 30 * 12 * 8 + (70 + 30) * 8),
        ("sage", 2 * 30 * 12 * 8 + 70 * 12),
        ("graph", 2 * 30 * 12 * 8 + 70 * 12),
        ("cheb", 2 * 30 * 12 * 8 + 70 * 12),
        ("gin", 30 * (12 * 8 + 8) + 70 * 12),
        ("arma", 2 * 30 * 12 * 8 + 70 * 8),
        ("gat", 30 * 12 * 8 + 2 * 30 * 8 + (70 + 30) * 8),
    ],
)
def test_graph_convolutions_count_products_and_messages(op: str, macs: int) -> None:
    """30 nodes, 70 edges, 12 features to 8; parameters are those of the PyG layer."""
    network = Architecture(
        [
            node("input", name="x", shape=(30, 12)),
            node("input", name="edge_index", shape=(2, 70)),
            node(op, [0, 1], features=8),
            node("output", [2]),
        ]
    )
    found = cost(network)
    assert found.macs == macs
    assert found.params == sum(p.numel() for p in compile(network, seed=0).parameters())


def test_costs_add_up_and_depend_on_the_size() -> None:
    space = registry.get_space("nasbench201")
    conv3 = space.decode([3] * 6)
    one, two, three = (cost(space.network(conv3, IMAGE, channels=8, cells=c)) for c in (1, 2, 3))
    cell = Cost(two.params - one.params, two.macs - one.macs)
    assert three == two + cell
    # Six 3x3 convolutions with normalisation at 8, 16 and 32 channels on 12, 6 and 3 pixels.
    assert cell.params == sum(6 * (9 * c * c + 2 * c) for c in (8, 16, 32))
    assert cell.macs == sum(6 * 9 * c * c * p * p for c, p in ((8, 12), (16, 6), (32, 3)))
    nothing = cost(space.network(space.decode([0] * 6), IMAGE, channels=8, cells=4))
    assert nothing == cost(space.network(space.decode([1] * 6), IMAGE, channels=8, cells=9))


def test_example_inputs_fit_and_repeat() -> None:
    graph = registry.get_space("nasbench_graph")
    network = graph.network(graph.decode([8, 1, 2, 3, 4]), GRAPH)
    x, edges = example_inputs(network, batch=3, seed=5)
    assert x.shape == (30, 12)
    assert edges.shape == (2, 70)
    assert 0 <= int(edges.min()) <= int(edges.max()) < 30
    again = example_inputs(network, batch=3, seed=5)
    assert torch.equal(x, again[0])
    assert torch.equal(edges, again[1])
    assert not torch.equal(x, example_inputs(network, seed=6)[0])


def test_timing_leaves_mode_threads_and_statistics_as_they_were() -> None:
    space = registry.get_space("nasbench201")
    network = space.network(space.decode([3] * 6), IMAGE, channels=4, cells=1)
    module = compile(network, seed=0).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    threads = torch.get_num_threads()
    assert timing.latency(module, example_inputs(network), warm_up=1, repeats=2, threads=1) > 0
    assert module.training
    assert torch.get_num_threads() == threads
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("name", ["nasbench201", "nasbench_graph", "darts"])
def test_the_time_of_every_node_is_found_at_its_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine on which a layer takes one second for each of its parameters, and two in the first pass."""
    space = registry.get_space(name)
    signature = GRAPH if name == "nasbench_graph" else IMAGE
    network = space.network(space.sample(np.random.default_rng(0)), signature)
    module, now, passes = compile(network, seed=0), [0.0], [0]
    for layer in {n.target for n in module.graph.nodes if n.op == "call_module"}:
        of_layer = module.get_submodule(layer)

        def spend(of_layer: torch.nn.Module, *_: object) -> None:
            now[0] += sum(p.numel() for p in of_layer.parameters()) * (2 if passes[0] == 0 else 1)

        of_layer.register_forward_hook(spend)
    last = [n.target for n in module.graph.nodes if n.op == "call_module"][-1]
    module.get_submodule(last).register_forward_hook(lambda *_: passes.__setitem__(0, passes[0] + 1))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    inputs = example_inputs(network)
    found = timing.node_latencies(module, inputs, warm_up=1, repeats=3)
    expected = {i: 1000.0 * c.params for i, (_, c) in enumerate(infer(network.nodes)) if c.params}
    assert {place: time for place, time in found.items() if time} == expected
    assert len(expected) > 2
    now[0] = 0.0
    assert timing.latency(module, inputs, warm_up=0, repeats=3) == sum(expected.values())


def test_a_table_is_the_sum_over_the_nodes_of_a_network(tmp_path: Path) -> None:
    space = registry.get_space("nasbench201")
    first, second = (space.network(space.decode(d), IMAGE, channels=4, cells=1) for d in ([3] * 6, [3, 2, 1, 0, 4, 3]))
    table = LatencyTable().measure([first], warm_up=0, repeats=1)
    with pytest.raises(GraphnasError, match="no entry 'nor_conv_1x1"):
        table.latency(second)
    known = dict(table.entries)
    table.measure([second], warm_up=0, repeats=1)
    assert known.items() <= table.entries.items()  # nothing is measured twice
    # A table that is 1 at one entry and 0 elsewhere tells how often that entry is counted.
    times = {n: LatencyTable({**dict.fromkeys(table.entries, 0.0), n: 1.0}).latency(first) for n in table.entries}
    convolutions = sum(count for name, count in times.items() if name.startswith("nor_conv_3x3"))
    assert convolutions == 3 * 6
    assert sum(times.values()) == sum(n.op not in ("input", "output") for n in first.nodes)
    path = tmp_path / "table.json"
    table.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]
    read = LatencyTable.load(path)
    assert (read.entries, read.device) == (table.entries, table.device)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "\x00\xff",
        json.dumps({"format": "other", "milliseconds": {}}),
        json.dumps({"format": "graphnas.latency"}),
        json.dumps({"format": "graphnas.latency", "milliseconds": [1]}),
        json.dumps({"format": "graphnas.latency", "milliseconds": {"a": "fast"}}),
    ],
)
def test_foreign_tables_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(GraphnasError, match="is not a latency table"):
        LatencyTable.load(path)
    with pytest.raises(GraphnasError, match="is not a latency table"):
        LatencyTable.load(tmp_path / "missing.json")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"format": "graphnas.latency", "milliseconds": {"a": NaN}}',
        '{"format": "graphnas.latency", "milliseconds": {"a": -1}}',
    ],
)
def test_hostile_tables_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(GraphnasError):
        LatencyTable.load(path)
