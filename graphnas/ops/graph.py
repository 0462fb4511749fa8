"""Message-passing operations on node features (N, F) with an edge list (2, E), as PyG layers.

Multiply-adds count the dense products and one per edge and feature for the aggregation; edges are those of the
data (self-loops that a layer adds are counted once per node).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import GraphnasError
from graphnas.ops.layers import Cost, Layer, Shape, layer, rule, sequential
from graphnas.ops.registry import layer_op

Params = Mapping[str, Any]
Shapes = Sequence[Shape]


def _shape(arguments: Params, inputs: Shapes) -> Shape:
    width = arguments["out_channels"] * arguments.get("heads", 1)
    return (inputs[0][0], width)


def _gin_shape(arguments: Params, inputs: Shapes) -> Shape:
    return (inputs[0][0], arguments["nn"].shape(inputs[0])[-1])


def _sizes(arguments: Params, inputs: Shapes) -> tuple[int, int, int, int]:
    """Nodes, edges, input width, output width."""
    return inputs[0][0], inputs[1][1], inputs[0][1], arguments["out_channels"]


def _gcn_cost(arguments: Params, inputs: Shapes) -> Cost:
    n, e, f, o = _sizes(arguments, inputs)
    return Cost(f * o + o, n * f * o + (e + n) * o)


def _gat_cost(arguments: Params, inputs: Shapes) -> Cost:
    n, e, f, o = _sizes(arguments, inputs)
    width = o * arguments.get("heads", 1)
    return Cost(f * width + 3 * width, n * f * width + 2 * n * width + (e + n) * width)


def _gin_cost(arguments: Params, inputs: Shapes) -> Cost:
    n, e, f = inputs[0][0], inputs[1][1], inputs[0][1]
    return arguments["nn"].cost((n, f)) + Cost(0, e * f)  # type: ignore[no-any-return]


def _cheb_cost(arguments: Params, inputs: Shapes) -> Cost:
    n, e, f, o = _sizes(arguments, inputs)
    order = arguments["K"]
    return Cost(order * f * o + o, order * n * f * o + (order - 1) * e * f)


def _two_weights_cost(arguments: Params, inputs: Shapes) -> Cost:
    """One product for the node, one for its neighbourhood (GraphSAGE, k-GNN)."""
    n, e, f, o = _sizes(arguments, inputs)
    return Cost(2 * f * o + o, 2 * n * f * o + e * f)


def _arma_cost(arguments: Params, inputs: Shapes) -> Cost:
    n, e, f, o = _sizes(arguments, inputs)
    recurrent = o * o  # PyG allocates the weight between layers even when there is only one layer
    return Cost(2 * f * o + recurrent + o, 2 * n * f * o + e * o)


def _propagation_cost(arguments: Params, inputs: Shapes) -> Cost:
    n, e, f = inputs[0][0], inputs[1][1], inputs[0][1]
    return Cost(0, arguments["K"] * (e + n) * f)


for _class, _cost in (
    ("GCNConv", _gcn_cost),
    ("GATConv", _gat_cost),
    ("ChebConv", _cheb_cost),
    ("SAGEConv", _two_weights_cost),
    ("GraphConv", _two_weights_cost),
    ("ARMAConv", _arma_cost),
):
    rule(f"torch_geometric.nn.{_class}", _shape, _cost)
rule("torch_geometric.nn.GINConv", _gin_shape, _gin_cost)
rule("torch_geometric.nn.APPNP", lambda arguments, inputs: inputs[0], _propagation_cost)


def _pyg(name: str, **arguments: Any) -> Layer:
    return layer(f"torch_geometric.nn.{name}", **arguments).built_by(f"graphnas.ops.graph_convolutions.Fast{name}")


def _convolution(name: str, params: Params, inputs: Shapes, **arguments: Any) -> Layer:
    return _pyg(name, in_channels=inputs[0][1], out_channels=params["features"], **arguments)


@layer_op("gcn")
def gcn(params: Params, inputs: Shapes) -> Layer:
    """Graph convolution (Kipf & Welling, 2017)."""
    return _convolution("GCNConv", params, inputs)


@layer_op("gat")
def gat(params: Params, inputs: Shapes) -> Layer:
    """Graph attention (Velickovic et al., 2018); ``heads`` outputs are concatenated to ``features``."""
    heads = params.get("heads", 2)
    if params["features"] % heads:
        raise GraphnasError(f"{params['features']} features cannot be divided among {heads} attention heads")
    return _convolution("GATConv", {"features": params["features"] // heads}, inputs, heads=heads)


@layer_op("gin")
def gin(params: Params, inputs: Shapes) -> Layer:
    """Graph isomorphism network (Xu et al., 2019): a perceptron with ``hidden`` units reads the sums.

    Without ``hidden`` it is one linear map, as the parameter counts of NAS-Bench-Graph show.
    """
    hidden, features = params.get("hidden"), params["features"]
    if hidden is None:
        return _pyg("GINConv", nn=layer("torch.nn.Linear", in_features=inputs[0][1], out_features=features))
    first = layer("torch.nn.Linear", in_features=inputs[0][1], out_features=hidden)
    last = layer("torch.nn.Linear", in_features=hidden, out_features=features)
    return _pyg("GINConv", nn=sequential(first, layer("torch.nn.ReLU"), last))


@layer_op("cheb")
def cheb(params: Params, inputs: Shapes) -> Layer:
    """Chebyshev filters of two terms (Defferrard et al., 2016)."""
    return _convolution("ChebConv", params, inputs, K=2)


@layer_op("sage")
def sage(params: Params, inputs: Shapes) -> Layer:
    """GraphSAGE with mean aggregation (Hamilton et al., 2017)."""
    return _convolution("SAGEConv", params, inputs)


@layer_op("arma")
def arma(params: Params, inputs: Shapes) -> Layer:
    """Auto-regressive moving-average filter, one stack of one layer (Bianchi et al., 2021)."""
    return _convolution("ARMAConv", params, inputs)


@layer_op("graph")
def graph(params: Params, inputs: Shapes) -> Layer:
    """k-GNN of order one (Morris et al., 2019)."""
    return _convolution("GraphConv", params, inputs)


@layer_op("propagation")
def propagation(params: Params, inputs: Shapes) -> Layer:
    """So many ``steps`` of ``h <- (1 - teleport) A h + teleport x`` from ``h = x``, with A as in graph convolutions (Gasteiger et al., 2019)."""
    steps, teleport = params["steps"], params["teleport"]
    if steps < 1 or not 0 <= teleport <= 1:
        raise GraphnasError(f"propagation needs at least 1 step and a teleport of 0 to 1, not {steps} and {teleport}")
    return _pyg("APPNP", K=steps, alpha=teleport)


@layer_op("feature_norm")
def feature_norm(params: Params, inputs: Shapes) -> Layer:
    """Batch normalisation of node features."""
    return layer("torch.nn.BatchNorm1d", num_features=inputs[0][1])


@layer_op("feature_dropout")
def feature_dropout(params: Params, inputs: Shapes) -> Layer:
    """Dropout of the input features; what reads them must be a layer of this file, as they may become sparse."""
    return layer("torch.nn.Dropout", p=params["p"]).built_by("graphnas.ops.sparse_features.FeatureDropout")


@layer_op("feature_linear")
def feature_linear(params: Params, inputs: Shapes) -> Layer:
    """x W + b with ``features`` outputs, also for sparse input features; without b if ``bias`` is False."""
    sizes = {"in_features": inputs[0][1], "out_features": params["features"], "bias": params.get("bias")}
    return layer("torch.nn.Linear", **sizes).built_by("graphnas.ops.sparse_features.FeatureLinear")
