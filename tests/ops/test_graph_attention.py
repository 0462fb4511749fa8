"""AGNN layers against dense formulas in numpy, plain, on sparse products and on DGL, with their symmetries."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from graphnas.errors import GraphnasError
from graphnas.ops import graph_attention
from graphnas.ops.graph_agnn import ACTIVATIONS, AGGREGATES, ATTENTIONS, COMBINES, SELF, agnn
from graphnas.ops.graph_backends import use_backend
from graphnas.ops.graph_convolutions import FastAGNNConv

HEADS, WIDTH = 3, 4
FORMS = ("plain", "pyg", "dgl")
NUMPY = {
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Identity": lambda x: x,
    "Softplus": lambda x: np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20)))),  # torch's threshold
    "LeakyReLU": lambda x: np.where(x > 0, x, 0.01 * x),
    "ReLU6": lambda x: np.clip(x, 0, 6),
    "ELU": lambda x: np.where(x > 0, x, np.exp(x) - 1),
}


def build(form: str, width: int = WIDTH, **options: Any) -> nn.Module:
    """A layer with random weights, biases included, in double precision."""
    kind = graph_attention.AGNNConv if form == "plain" else FastAGNNConv
    made = kind(6, width, heads=HEADS, **options)
    generator = torch.Generator().manual_seed(5)
    for parameter in made.parameters():
        nn.init.normal_(parameter, generator=generator)
    return use_backend(made.double(), "pyg" if form == "plain" else form)


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.2 * x)


def expected(layer: Any, x: np.ndarray, adjacency: np.ndarray) -> np.ndarray:
    """The layer as its docstring states it, on ``adjacency[i, j]`` edges from j to i."""
    w = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
    z = (x @ w["lin.weight"].T).reshape(len(x), layer.heads, -1)
    present = adjacency[:, :, None] > 0
    if layer.attention == SELF:
        e = np.broadcast_to(np.eye(len(x))[:, :, None], (len(x), len(x), layer.heads))
        present, adjacency = e[:, :, :1] > 0, np.eye(len(x))
    elif layer.attention in ("const", "gcn"):
        degrees = adjacency.sum(1)
        e = np.ones_like(adjacency) if layer.attention == "const" else 1 / np.sqrt(np.outer(degrees, degrees))
        e = e[:, :, None] * np.ones(layer.heads)
    else:
        zi, zj = z[:, None], z[None]  # [i, j, head, feature]
        left, right = w.get("left"), w.get("right")
        if layer.attention in ("gat", "sym-gat"):
            score = leaky((zi * left).sum(-1) + (zj * right).sum(-1))
            if layer.attention == "sym-gat":
                score = score + leaky((zj * left).sum(-1) + (zi * right).sum(-1))
        elif layer.attention == "cos":
            score = (zi * left * zj * right).sum(-1)
        elif layer.attention == "linear":
            score = np.tanh((zj * right).sum(-1)) + 0 * zi[..., 0]
        else:
            score = (np.tanh(zi * left + zj * right) * w["vector"]).sum(-1)
        exponentials = np.where(present, np.exp(score), 0)
        e = exponentials / (adjacency[:, :, None] * exponentials).sum(1, keepdims=True)
    messages = e[..., None] * z[None]
    if layer.aggregate == "max":
        h = np.where(present[..., None], messages, -np.inf).max(1)
    else:
        h = (adjacency[:, :, None, None] * messages).sum(1)
        if layer.aggregate == "mean":
            h = h / adjacency.sum(1)[:, None, None]
    if layer.aggregate == "mlp" or layer.combine == "mlp":
        hidden = np.maximum(h @ w["mlp.0.weight"].T + w["mlp.0.bias"], 0)
        h = hidden @ w["mlp.2.weight"].T + w["mlp.2.bias"]
    h = h.reshape(len(x), -1) if layer.concat else h.mean(1)
    return np.asarray(NUMPY[type(layer.activation).__name__](h + w["bias"]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attention", [*ATTENTIONS, SELF])
def test_every_layer_is_its_dense_formula(form: str, attention: str, awkward_graph: Any) -> None:
    graph = awkward_graph
    for number, (aggregate, combine, (concat, width)) in enumerate(
        itertools.product(AGGREGATES, COMBINES, ((True, 1), (False, 4)))
    ):
        activation = list(ACTIVATIONS.values())[number % len(ACTIVATIONS)]
        options = {"attention": attention, "aggregate": aggregate, "combine": combine, "activation": activation}
        layer = build(form, width, concat=concat, **options)
        found = layer(graph.x, graph.edge_index).detach().numpy()
        assert found.shape == (graph.nodes, HEADS * width if concat else width)
        assert np.allclose(found, expected(layer, graph.x.numpy(), graph.with_loops), rtol=0, atol=1e-10), options


@pytest.mark.parametrize("form", FORMS)
def test_graphs_of_every_kind(form: str, small_graph: Any) -> None:
    for number, attention in enumerate(ATTENTIONS):
        aggregate = AGGREGATES[number % 3]
        layer = build(form, attention=attention, aggregate=aggregate)
        found = layer(small_graph.x, small_graph.edge_index).detach().numpy()
        dense = expected(layer, small_graph.x.numpy(), small_graph.with_loops)
        assert np.allclose(found, dense, rtol=0, atol=1e-10), (attention, aggregate)


@pytest.mark.parametrize("backend", ["pyg", "dgl"])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_gradients_are_those_of_the_plain_layer(backend: str, attention: str, awkward_graph: Any) -> None:
    for aggregate, combine in itertools.product(AGGREGATES, COMBINES):
        results = []
        for form in ("plain", backend):
            layer = build(form, attention=attention, aggregate=aggregate, combine=combine, activation="Tanh")
            x = awkward_graph.x.clone().requires_grad_()
            out = layer(x, awkward_graph.edge_index)
            results.append(torch.autograd.grad(out.square().sum(), [x, *layer.parameters()]))
        for ours, plain in zip(*results, strict=True):
            scale = max(1.0, float(plain.abs().max()))
            assert torch.allclose(ours, plain, rtol=0, atol=1e-9 * scale), (aggregate, combine)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_permuting_the_nodes_permutes_the_result(form: str, attention: str, small_graph: Any) -> None:
    order = torch.randperm(small_graph.nodes, generator=torch.Generator().manual_seed(0))
    other = small_graph.permuted(order)
    for aggregate in AGGREGATES:
        layer = build(form, attention=attention, aggregate=aggregate)
        there, here = layer(other.x, other.edge_index), layer(small_graph.x, small_graph.edge_index)[order]
        assert torch.allclose(there, here, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attention", ATTENTIONS[2:])
def test_attention_is_positive_and_its_rows_sum_to_one(form: str, attention: str, small_graph: Any) -> None:
    layer: Any = build(form, attention=attention)
    graph = layer.messages(small_graph.x, small_graph.edge_index)
    h = layer.project(small_graph.x).view(-1, HEADS, WIDTH)
    weights = graph.softmax(layer.scores(graph, h))
    assert bool((weights > 0).all())
    ones = torch.ones(small_graph.nodes, HEADS, 1, dtype=torch.float64)
    assert torch.allclose(graph.weighted_sum(weights, ones), ones, rtol=0, atol=1e-12)


def test_const_and_gcn_are_the_layers_of_the_literature(small_graph: Any) -> None:
    """A H W, and Kipf & Welling's propagation rule."""
    a = small_graph.with_loops
    scale = 1 / np.sqrt(a.sum(1))
    for attention, matrix in (("const", a), ("gcn", scale[:, None] * a * scale)):
        layer: Any = build("pyg", attention=attention)
        projected = small_graph.x.numpy() @ layer.lin.weight.detach().numpy().T
        found = layer(small_graph.x, small_graph.edge_index).detach().numpy() - layer.bias.detach().numpy()
        assert np.allclose(found, matrix @ projected, rtol=0, atol=1e-10)


def test_only_softmax_coefficients_are_dropped(awkward_graph: Any) -> None:
    for attention in ATTENTIONS:
        layer: Any = build("pyg", attention=attention, dropout=0.5).train()
        torch.manual_seed(0)
        first, second = (layer(awkward_graph.x, awkward_graph.edge_index) for _ in range(2))
        assert torch.equal(first, second) == (attention in ("const", "gcn"))
        assert torch.equal(layer.eval()(awkward_graph.x, awkward_graph.edge_index), layer(*awkward(awkward_graph)))


def awkward(graph: Any) -> tuple[Any, Any]:
    return graph.x, graph.edge_index


def test_dropped_coefficients_keep_their_mean(awkward_graph: Any) -> None:
    layer: Any = build("pyg", attention="gat", dropout=0.5)
    target = layer.eval()(*awkward(awkward_graph)).detach()
    layer.train()
    torch.manual_seed(0)
    draws = torch.stack([layer(*awkward(awkward_graph)).detach() for _ in range(400)])
    error = (draws.mean(0) - target).abs() / (draws.std(0) / math.sqrt(len(draws)) + 1e-12)
    assert float(error.max()) < 5  # standard errors


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention": "cosine"}, "unknown attention of an AGNN layer: 'cosine'"),
        ({"aggregate": "median"}, "unknown aggregate of an AGNN layer: 'median'"),
        ({"activation": "swish"}, "unknown activation of an AGNN layer: 'swish'"),
        ({"combine": "sum"}, "unknown combine of an AGNN layer: 'sum'"),
        ({"heads": 0}, r"heads \(0\) and width \(4\) must be at least 1"),
    ],
)
def test_layers_that_do_not_exist_are_refused(change: dict[str, Any], said: str) -> None:
    good = {"attention": "gat", "aggregate": "sum", "activation": "elu", "heads": 2, "width": 4}
    with pytest.raises(GraphnasError, match=said):
        agnn({**good, **change}, [(5, 6), (2, 3)])
