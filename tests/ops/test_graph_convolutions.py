"""The layers of NAS-Bench-Graph against dense formulas in numpy and against PyG's own, on sparse products and on DGL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from graphnas.errors import GraphnasError
from graphnas.ops import graph_convolutions
from graphnas.ops.graph_backends import use_backend
from graphnas.ops.registry import get
from graphnas.ops.sparse_features import sparse_features

OPS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph")
NAMES = {
    "gat": "GATConv",
    "gcn": "GCNConv",
    "gin": "GINConv",
    "cheb": "ChebConv",
    "sage": "SAGEConv",
    "arma": "ARMAConv",
}
WIDTHS = (4, 16)  # narrower and wider than the six input features: maps come before or after aggregation
Weights = dict[str, np.ndarray]


def build(op: str, width: int, backend: str = "pyg") -> nn.Module:
    """The layer of an operation, with random weights in double precision."""
    made = get(op).layer
    assert made is not None
    layer: nn.Module = made({"features": width}, [(9, 6), (2, 24)]).build().double()
    generator = torch.Generator().manual_seed(7)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=generator)
    return use_backend(layer, backend)


def theirs(op: str, width: int) -> nn.Module:
    """PyG's own layer with the same weights."""
    options: dict[str, Any] = {"gat": {"heads": 2}, "cheb": {"K": 2}}.get(op, {})
    if op == "gin":
        layer = pyg.GINConv(nn.Linear(6, width))
    else:
        layer = getattr(pyg, NAMES.get(op, "GraphConv"))(6, width // 2 if op == "gat" else width, **options)
    layer = layer.double()
    layer.load_state_dict(build(op, width).state_dict())
    return layer  # type: ignore[no-any-return]


def inverse_root(degrees: np.ndarray) -> np.ndarray:
    return np.where(degrees > 0, 1 / np.sqrt(np.maximum(degrees, 1)), 0)


def dense_gat(graph: Any, x: np.ndarray, w: Weights) -> np.ndarray:
    z = (x @ w["lin.weight"].T).reshape(len(x), 2, -1)
    score = (z * w["att_dst"]).sum(-1)[:, None] + (z * w["att_src"]).sum(-1)[None]
    weights = graph.with_loops[:, :, None] * np.exp(np.where(score > 0, score, 0.2 * score))
    weights /= weights.sum(1, keepdims=True)
    return np.einsum("ijh,jhc->ihc", weights, z).reshape(len(x), -1) + w["bias"]


def dense_gcn(graph: Any, x: np.ndarray, w: Weights) -> np.ndarray:
    scale = inverse_root(graph.with_loops.sum(1))
    return scale[:, None] * graph.with_loops * scale @ x @ w["lin.weight"].T + w["bias"]


def dense_gin(graph: Any, x: np.ndarray, w: Weights) -> np.ndarray:
    return (x + graph.adjacency @ x) @ w["nn.weight"].T + w["nn.bias"]


def dense_cheb(graph: Any, x: np.ndarray, w: Weights) -> np.ndarray:
    a = graph.without_loops
    scale = inverse_root(a.sum(0))
    laplacian = np.eye(len(x)) - scale[:, None] * a * scale
    scaled = 2 * laplacian / 2 - np.eye(len(x))  # the largest eigenvalue is taken as 2
    return x @ w["lins.0.weight"].T + scaled @ x @ w["lins.1.weight"].T + w["bias"]


def dense_sage(graph: Any, x: np.ndarray, w: Weights) -> np.ndarray:
    mean = graph.adjacency @ x / np.maximum(graph.adjacency.sum(1), 1)[:, None]
    return mean @ w["lin_l.weight"].T + w["lin_l.bias"] + x @ w["lin_r.weight"].T


def dense_arma(graph: Any, x: np.ndarray, w: Weights) -> np.ndarray:
    a = graph.adjacency
    scale = inverse_root(a.sum(1))
    far = scale[:, None] * a * scale @ x @ w["init_weight"][0]
    return np.maximum(far + x @ w["root_weight"][0, 0] + w["bias"][0, 0], 0)


def dense_graph(graph: Any, x: np.ndarray, w: Weights) -> np.ndarray:
    return graph.adjacency @ x @ w["lin_rel.weight"].T + w["lin_rel.bias"] + x @ w["lin_root.weight"].T


DENSE: dict[str, Callable[[Any, np.ndarray, Weights], np.ndarray]] = {
    "gat": dense_gat,
    "gcn": dense_gcn,
    "gin": dense_gin,
    "cheb": dense_cheb,
    "sage": dense_sage,
    "arma": dense_arma,
    "graph": dense_graph,
}


@pytest.mark.parametrize("backend", ["pyg", "dgl"])
@pytest.mark.parametrize("op", OPS)
def test_layers_are_their_dense_formulas(op: str, backend: str, small_graph: Any) -> None:
    for width in WIDTHS:
        layer = build(op, width, backend)
        weights = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
        found = layer(small_graph.x, small_graph.edge_index).detach().numpy()
        assert np.allclose(found, DENSE[op](small_graph, small_graph.x.numpy(), weights), rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", ["pyg", "dgl"])
@pytest.mark.parametrize("op", OPS)
def test_results_and_gradients_are_those_of_pyg(op: str, backend: str, small_graph: Any) -> None:
    for width in WIDTHS:
        results: list[list[Tensor]] = []
        for layer in (build(op, width, backend), theirs(op, width)):
            x = small_graph.x.clone().requires_grad_()
            out = layer(x, small_graph.edge_index)
            inputs = [x, *layer.parameters()]
            found = torch.autograd.grad(out.square().sum(), inputs, allow_unused=True)
            none = [torch.zeros_like(p) if g is None else g for p, g in zip(inputs, found, strict=True)]
            results.append([out, *none])
        for ours, reference in zip(*results, strict=True):
            scale = max(1.0, float(reference.detach().abs().max()))
            assert torch.allclose(ours, reference, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("op", OPS)
def test_sparse_features_give_what_dense_ones_give(op: str, awkward_graph: Any) -> None:
    x = awkward_graph.x.clone()
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) > 0.08] = 0
    sparse = sparse_features(x)
    assert sparse is not None
    for width in WIDTHS:
        layer = build(op, width)
        results = []
        for features in (x, sparse):
            out = layer(features, awkward_graph.edge_index)
            results.append([out, *torch.autograd.grad(out.square().sum(), list(layer.parameters()), allow_unused=True)])
        for dense, ours in zip(*results, strict=True):
            if dense is not None:  # PyG's ARMA layer has a weight that a single layer does not use
                assert ours is not None
                assert torch.allclose(ours, dense, rtol=0, atol=1e-9 * max(1.0, float(dense.detach().abs().max())))


@pytest.mark.parametrize("backend", ["pyg", "dgl"])
@pytest.mark.parametrize("op", OPS)
def test_permuting_the_nodes_permutes_the_result(op: str, backend: str, small_graph: Any) -> None:
    order = torch.randperm(small_graph.nodes, generator=torch.Generator().manual_seed(1))
    other = small_graph.permuted(order)
    layer = build(op, 4, backend)
    there, here = layer(other.x, other.edge_index), layer(small_graph.x, small_graph.edge_index)[order]
    assert torch.allclose(there, here, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", ["pyg", "dgl"])
@pytest.mark.parametrize(("steps", "teleport"), [(1, 0.1), (10, 0.1), (4, 0.0), (3, 1.0), (400, 0.1)])
def test_propagation_is_personalised_pagerank(steps: int, teleport: float, backend: str, awkward_graph: Any) -> None:
    """Steps of equation 4 of Gasteiger et al. (2019) by dense matrices, their limit (equation 3), and PyG's own layer."""
    made = get("propagation").layer
    assert made is not None
    layer = use_backend(made({"steps": steps, "teleport": teleport}, [(9, 6), (2, 24)]).build(), backend)
    x = awkward_graph.x.clone().requires_grad_()
    found = layer(x, awkward_graph.edge_index)
    adjacency = awkward_graph.with_loops
    scale = inverse_root(adjacency.sum(1))
    a = scale[:, None] * adjacency * scale
    power = np.eye(len(a))
    for _ in range(steps):
        power = (1 - teleport) * a @ power + teleport * np.eye(len(a))
    assert np.allclose(found.detach().numpy(), power @ awkward_graph.x.numpy(), rtol=0, atol=1e-10)
    if steps == 400:
        limit = teleport * np.linalg.inv(np.eye(len(a)) - (1 - teleport) * a)
        assert np.allclose(power, limit, rtol=0, atol=1e-10)
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    by_hand = 2 * power.T @ power @ awkward_graph.x.numpy()
    assert np.allclose(gradient.numpy(), by_hand, rtol=0, atol=1e-9 * max(1.0, np.abs(by_hand).max()))
    reference = pyg.APPNP(steps, teleport)(awkward_graph.x, awkward_graph.edge_index)
    assert torch.allclose(found, reference, rtol=0, atol=1e-10)


def test_propagation_that_makes_no_sense_is_refused() -> None:
    made = get("propagation").layer
    assert made is not None
    for params in ({"steps": 0, "teleport": 0.1}, {"steps": 2, "teleport": 1.5}):
        with pytest.raises(GraphnasError, match="propagation needs at least 1 step and a teleport of 0 to 1, not"):
            made(params, [(9, 6), (2, 24)])


@pytest.mark.parametrize("order", [1, 3, 5])
def test_chebyshev_filters_of_any_order_are_those_of_pyg(order: int, awkward_graph: Any) -> None:
    ours, reference = graph_convolutions.FastChebConv(6, 4, order).double(), pyg.ChebConv(6, 4, order).double()
    reference.load_state_dict(ours.state_dict())
    x, edges = awkward_graph.x, awkward_graph.edge_index
    assert torch.allclose(ours(x, edges), reference(x, edges), rtol=0, atol=1e-10)


@pytest.mark.parametrize("op", OPS)
def test_pyg_takes_over_where_its_own_operations_are_needed(op: str, awkward_graph: Any) -> None:
    """Mixed precision, transformed functions and exported programs see PyG's operations; the results agree."""
    layer, x, edges = build(op, 4), awkward_graph.x, awkward_graph.edge_index
    expected = layer(x, edges)
    parameters = {name: value.detach() for name, value in layer.named_parameters()}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, weights, (x, edges)).square().sum()  # type: ignore[no-any-return]

    gradients = torch.func.grad(loss)(parameters)
    expected.square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in layer.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(gradients[name], parameter.grad, rtol=0, atol=1e-8)
    program = torch.export.export(layer, (x, edges))
    assert torch.allclose(program.module()(x, edges), expected, rtol=0, atol=1e-10)
    single = layer.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = single(x.float(), edges)
    assert torch.allclose(low.double(), expected, rtol=0.1, atol=0.1 * float(expected.detach().abs().max()))
