"""Compiled networks: parameters and multiply-adds as published, and forward passes equal to hand-written torch code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from graphnas import registry
from graphnas.architecture import Architecture, node
from graphnas.compile import compile
from graphnas.cost import cost, example_inputs
from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.files import load_npz
from graphnas.tasks.base import Signature
from spaces import nasbench101, nasbench201, nasbench_graph

CIFAR = Signature("image", (3, 32, 32), 10)


def data(name: str, *columns: str) -> dict[str, np.ndarray]:
    path = find(name)
    if path is None:
        pytest.skip(f"{name} is not in GRAPHNAS_DATA")
    return load_npz(Path(path), columns)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("prefix", "pixels", "classes"), [("c10", 32, 10), ("c100", 32, 100), ("in16", 16, 120)])
def test_nasbench201_costs_are_those_of_the_benchmark(prefix: str, pixels: int, classes: int) -> None:
    table = data("nb201.npz", "ops", f"{prefix}_params", f"{prefix}_flops")
    space = nasbench201.space()
    signature = Signature("image", (3, pixels, pixels), classes)
    for row in range(0, 15_625, 313):
        network = space.network(space.decode(table["ops"][row].tolist()), signature)
        found = cost(network)
        assert (found.params, found.macs) == (table[f"{prefix}_params"][row], table[f"{prefix}_flops"][row])
        if row % 5 == 0:
            assert parameters(compile(network, seed=0)) == found.params


def test_nasbench101_parameters_are_those_of_the_benchmark() -> None:
    table = data("nb101_500.npz", "adj", "ops", "op_names", "params")
    names = table["op_names"].tolist()
    for row in range(0, 500, 10):
        ops = [names[o] for o in table["ops"][row]]
        keep = [i for i, op in enumerate(ops) if op in (*nasbench101.OPS, "input", "output")]
        matrix = table["adj"][row][np.ix_(keep, keep)]
        a = nasbench101.from_matrix(matrix, [ops[i] for i in keep])
        network = nasbench101.space().network(a, CIFAR)
        assert cost(network).params == round(1e6 * float(table["params"][row]))
        if row % 100 == 0:
            assert parameters(compile(network, seed=0)) == cost(network).params


def test_nasbench_graph_parameters_are_those_of_the_benchmark() -> None:
    """Cora with 256 channels; the benchmark counts an unused normalisation (512) at each skip and each op on raw features."""
    try:
        table = registry.find("table", "nasbench_graph/cora")(metrics=["params"])
    except GraphnasError as error:
        pytest.skip(str(error))
    space = nasbench_graph.space()
    signature = Signature("node", (1433,), 7, nodes=2708, edges=10556)
    rng = np.random.default_rng(0)
    for i in range(200):
        a = space.sample(rng)
        network = space.network(a, signature, channels=256)
        raw = {0}
        for k, n in enumerate(a.nodes):
            if n.op == "skip" and n.inputs[0] in raw:
                raw.add(k)
        unused = sum(n.op == "skip" or n.inputs[0] in raw for n in a.nodes[1:5])
        recorded = table.evaluate(a, seed=0).metrics["params"]
        assert cost(network).params + 512 * unused == recorded
        if i % 20 == 0:
            assert parameters(compile(network, seed=0)) == cost(network).params


@pytest.mark.parametrize(("name", "signature"), [
    ("nasbench101", Signature("image", (3, 8, 8), 10)),
    ("nasbench201", Signature("image", (1, 12, 12), 3)),
    ("nasbench_graph", Signature("node", (12,), 5, nodes=20, edges=50)),
])  # fmt: skip
def test_counted_parameters_are_compiled_parameters(name: str, signature: Signature) -> None:
    space = registry.get_space(name)
    size = {k: v for k, v in {"channels": 8, "cells": 1}.items() if k in space.network_size}
    rng = np.random.default_rng(0)
    for _ in range(25):
        network = space.network(space.sample(rng), signature, **size)
        module = compile(network, seed=0).eval()
        assert parameters(module) == cost(network).params
        with torch.no_grad():
            result = module(*example_inputs(network, batch=2))
        assert result.shape == ((20, 5) if signature.kind == "node" else (2, signature.outputs))
        assert torch.isfinite(result).all()


class Reference(nn.Module):
    """Helpers for networks that are written out by hand, with weights from a state dict of graphnas."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.state = state
        self.used: set[str] = set()

    def take(self, name: str) -> torch.Tensor:
        self.used.add(name)
        return self.state[name]

    def conv(self, x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight = self.take(f"{name}.weight")
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """Batch normalisation in evaluation mode, from its definition."""
        mean, variance = self.take(f"{name}.running_mean"), self.take(f"{name}.running_var")
        scale, shift = self.take(f"{name}.weight"), self.take(f"{name}.bias")
        self.used.add(f"{name}.num_batches_tracked")
        view = (1, -1, 1, 1)
        normal = (x - mean.view(view)) / torch.sqrt(variance.view(view) + 1e-5)
        return normal * scale.view(view) + shift.view(view)

    def relu_conv_bn(self, x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        return self.norm(self.conv(F.relu(x), f"{name}.1", stride), f"{name}.2")

    def conv_bn_relu(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x, f"{name}.0"), f"{name}.1"))

    def head(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.mean((2, 3)), self.take("head.classifier.weight"), self.take("head.classifier.bias"))


def randomised(network: Architecture) -> nn.Module:
    """A compiled float64 network whose every parameter and statistic is random."""
    module = compile(network, seed=0).double().eval()
    generator = torch.Generator().manual_seed(1)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            scale = value[0].numel() ** -0.5 if value.dim() > 1 else 0.3
            value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else scale * drawn)
    return module


IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_a_nasbench201_network_equals_one_written_by_hand() -> None:
    """|conv3x3~0|+|skip~0|conv1x1~1|+|avg_pool~0|none~1|conv3x3~2|, one cell a stage."""
    text = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|"
    a = nasbench201.from_string(text)
    assert nasbench201.to_string(a) == text
    signature = Signature("image", (3, 8, 8), 4)
    module = randomised(nasbench201.space().network(a, signature, channels=4, cells=1))
    r = Reference(module.state_dict())

    def pool(x: torch.Tensor) -> torch.Tensor:
        ones = F.conv2d(torch.ones_like(x[:, :1]), torch.ones(1, 1, 3, 3, dtype=x.dtype), padding=1)
        kernel = torch.ones(x.shape[1], 1, 3, 3, dtype=x.dtype)
        return F.conv2d(x, kernel, padding=1, groups=x.shape[1]) / ones

    def cell(x: torch.Tensor, name: str) -> torch.Tensor:
        one = r.relu_conv_bn(x, f"{name}.node1")
        two = x + r.relu_conv_bn(one, f"{name}.node4")
        return pool(x) + r.relu_conv_bn(two, f"{name}.node8")

    def reduction(x: torch.Tensor, name: str) -> torch.Tensor:
        main = r.relu_conv_bn(r.relu_conv_bn(x, f"{name}.conv_a", stride=2), f"{name}.conv_b")
        return main + r.conv(F.avg_pool2d(x, 2), f"{name}.short_cut.1")

    x = r.norm(r.conv(IMAGE, "stem.0"), "stem.1")
    x = cell(x, "stage1.cell1")
    x = cell(reduction(x, "reduction1"), "stage2.cell1")
    x = cell(reduction(x, "reduction2"), "stage3.cell1")
    expected = r.head(F.relu(r.norm(x, "head.activation.0")))
    with torch.no_grad():
        assert torch.allclose(module(IMAGE), expected, rtol=0, atol=1e-12)
    assert r.used == set(module.state_dict())


def test_a_nasbench101_network_equals_one_written_by_hand() -> None:
    """Vertices: 1 (3x3) on the input, 2 (max pooling) on 1, 3 (1x1) on 1, input and 2; output on 2, 3 and the input."""
    matrix = [[0, 1, 0, 1, 1], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    labels = ["input", "conv3x3-bn-relu", "maxpool3x3", "conv1x1-bn-relu", "output"]
    a = nasbench101.from_matrix(matrix, labels)
    signature = Signature("image", (3, 8, 8), 4)
    module = randomised(nasbench101.space().network(a, signature, channels=6, cells=1))
    r = Reference(module.state_dict())

    def cell(x: torch.Tensor, name: str, outputs: int) -> torch.Tensor:
        half = outputs // 2  # two vertices feed the output, and share its channels
        one = r.conv_bn_relu(r.conv_bn_relu(x, f"{name}.projection1"), f"{name}.vertex1")
        assert one.shape[1] == half
        two = F.max_pool2d(one, 3, stride=1, padding=1)
        three = r.conv_bn_relu(one + two + r.conv_bn_relu(x, f"{name}.projection3"), f"{name}.vertex3")
        return torch.cat([two, three], 1) + r.conv_bn_relu(x, f"{name}.projection4")

    x = r.conv_bn_relu(IMAGE, "stem")
    x = cell(x, "stack1.cell1", 6)
    x = cell(F.max_pool2d(x, 2), "stack2.cell1", 12)
    x = cell(F.max_pool2d(x, 2), "stack3.cell1", 24)
    with torch.no_grad():
        assert torch.allclose(module(IMAGE), r.head(x), rtol=0, atol=1e-12)
    assert r.used == set(module.state_dict())


def small_network() -> Architecture:
    space = nasbench201.space()
    return space.network(space.decode([3, 2, 1, 4, 3, 2]), Signature("image", (3, 8, 8), 4), channels=4, cells=1)


def states(module: nn.Module) -> list[Any]:
    return [(name, value.tolist()) for name, value in module.state_dict().items()]


def test_a_seed_fixes_the_weights_and_leaves_the_global_generator_alone() -> None:
    network = small_network()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = states(compile(network, seed=7))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    assert states(compile(network, seed=7)) == first
    assert states(compile(network, seed=8)) != first
    torch.manual_seed(7)
    assert states(compile(network)) == first
    assert states(compile(network)) != first  # the generator has moved on


def test_names_and_code_are_those_of_the_network() -> None:
    module = compile(small_network(), seed=0)
    assert {"stem", "stage1", "reduction1", "stage2", "reduction2", "stage3", "head"} == dict(
        module.named_children()
    ).keys()
    assert module.code.lstrip().startswith("def forward(self, x")
    again = torch.export.export(module.eval(), (IMAGE.float(),)).module()
    assert torch.allclose(again(IMAGE.float()), module(IMAGE.float()), atol=1e-6)


def shaped(*nodes: Any, shape: tuple[int, ...] = (3, 8, 8)) -> Architecture:
    return Architecture([node("input", name="x", shape=shape), *nodes, node("output", (len(nodes),))])


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (shaped(node("no_such_op", [0])), "unknown operation 'no_such_op'"),
        (shaped(node("conv_bn", [0])), r"node 1 \(conv_bn\) does not fit"),
        (
            shaped(node("linear", [0], features=3), node("sum", [0, 1])),
            r"node 2 \(sum\): a sum needs inputs of one shape",
        ),
        (
            shaped(node("max_pool_2x2", [0]), node("concat", [0, 1])),
            "a concatenation needs inputs that differ in channels",
        ),
        (shaped(node("max_pool_2x2", [0]), shape=(3, 1, 1)), "too small"),
        (Architecture([node("input"), node("output", [0])]), "no parameter 'shape'"),
        (shaped(*[node("conv_bn", [i], channels=2, kernel=1, name="a") for i in range(2)]), "have the name 'a'"),
        (shaped(node("gat", [0, 0], features=5), shape=(4, 6)), "cannot be divided among 2 attention heads"),
    ],
)
def test_networks_that_do_not_fit_are_refused(network: Architecture, said: str) -> None:
    with pytest.raises(GraphnasError, match=said):
        compile(network)


def test_an_output_of_nothing_is_refused() -> None:
    with pytest.raises(GraphnasError):
        compile(Architecture([node("input", shape=(3,)), node("output")]))


def test_an_output_of_two_nodes_is_refused() -> None:
    with pytest.raises(GraphnasError):
        compile(Architecture([node("input", shape=(3,)), node("relu", [0]), node("output", [0, 1])]))


def test_several_outputs_are_a_tuple() -> None:
    nodes = [node("input", name="x", shape=(3,)), node("relu", [0]), node("output", [0]), node("output", [1])]
    x = torch.tensor([[-1.0, 0.0, 2.0]])
    first, second = compile(Architecture(nodes))(x)
    assert torch.equal(first, x)
    assert torch.equal(second, torch.tensor([[0.0, 0.0, 2.0]]))
