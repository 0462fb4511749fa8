"""The operation of the AGNN and GraphNAS spaces: one node is one layer, its parameters are the six choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import GraphnasError, unknown
from graphnas.ops.layers import Cost, Layer, Shape, layer, rule
from graphnas.ops.registry import function_op, layer_op

WIDTHS = (4, 8, 16, 32, 64, 128, 256)
ATTENTIONS = ("const", "gcn", "gat", "sym-gat", "cos", "linear", "gene-linear")
SELF = "self"
"""An attention that leaves a node alone: a dense layer. Not of AGNN or GraphNAS; it makes sense where outputs are propagated."""
HEADS = (1, 2, 4, 6, 8, 16)
AGGREGATES = ("sum", "mean", "max", "mlp")
COMBINES = ("identity", "mlp")
ACTIVATIONS = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "ReLU",
    "linear": "Identity",
    "softplus": "Softplus",
    "leaky-relu": "LeakyReLU",
    "relu6": "ReLU6",
    "elu": "ELU",
}
HIDDEN = 128
"""Width of the hidden layer of the perceptrons (the released code of GraphNAS)."""

_TARGET = "graphnas.ops.graph_attention.AGNNConv"
_VECTORS = {"const": 0, "gcn": 0, SELF: 0, "linear": 1, "gene-linear": 3}
"""Learned vectors of each head; 2 where nothing is said."""


@layer_op("agnn")
def agnn(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """A layer of the AGNN space on features (N, F) and edges (2, E).

    Parameters: ``attention``, ``aggregate``, ``combine`` (by default "identity"), ``activation``, ``heads`` and ``width`` (the
    features of a head); ``average`` instead of joining the heads; ``dropout`` of the attention coefficients.
    """
    for name, options in (
        ("attention", (*ATTENTIONS, SELF)),
        ("aggregate", AGGREGATES),
        ("combine", COMBINES),
        ("activation", ACTIVATIONS),
    ):
        value = params.get(name, "identity" if name == "combine" else None)
        if value not in options:
            raise unknown(f"{name} of an AGNN layer:", str(value), options)
    if params["heads"] < 1 or params["width"] < 1:
        raise GraphnasError(f"heads ({params['heads']}) and width ({params['width']}) must be at least 1")
    return layer(
        _TARGET,
        in_channels=inputs[0][1],
        out_channels=params["width"],
        heads=params["heads"],
        attention=params["attention"],
        aggregate=params["aggregate"],
        combine=params.get("combine", "identity"),
        activation=ACTIVATIONS[params["activation"]],
        concat=not params.get("average", False),
        dropout=params.get("dropout", 0.0),
        hidden=HIDDEN,
    ).built_by("graphnas.ops.graph_convolutions.FastAGNNConv")


@layer_op("activation")
def activation(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """The activation ``function`` of an AGNN layer."""
    if params["function"] not in ACTIVATIONS:
        raise unknown("activation of an AGNN layer:", str(params["function"]), ACTIVATIONS)
    return layer(f"torch.nn.{ACTIVATIONS[params['function']]}")


def _equal(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    if len(set(inputs)) != 1:
        raise GraphnasError(f"a maximum needs inputs of one shape, not {inputs}")
    return inputs[0]


@function_op("maximum", _equal)
def emit_maximum(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """Elementwise maximum of any number of inputs."""
    import torch

    largest = arguments[0]
    for other in arguments[1:]:
        largest = graph.call_function(torch.maximum, (largest, other))
    return largest


def _shape(arguments: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    heads = arguments["heads"] if arguments["concat"] else 1
    return (inputs[0][0], heads * arguments["out_channels"])


def _cost(arguments: Mapping[str, Any], inputs: Sequence[Shape]) -> Cost:
    """Dense products, one for each edge (self-loops included) and feature, and one for each use of a vector."""
    (nodes, features), edges = inputs[0], inputs[1][1]
    out, heads, hidden = arguments["out_channels"], arguments["heads"], arguments["hidden"]
    width, messages = heads * out, 0 if arguments["attention"] == SELF else edges + nodes
    vectors = _VECTORS.get(arguments["attention"], 2)
    params = features * width + vectors * width + _shape(arguments, inputs)[1]
    macs = nodes * features * width + messages * width + min(vectors, 2) * nodes * width
    if arguments["attention"] in ("cos", "gene-linear"):
        macs += messages * width
    if "mlp" in (arguments["aggregate"], arguments["combine"]):
        params += 2 * out * hidden + out + hidden
        macs += nodes * heads * (2 * out * hidden + out + hidden)
    return Cost(params, macs)


rule(_TARGET, _shape, _cost)
for _name in ("Softplus", "ReLU6"):
    rule(f"torch.nn.{_name}", lambda a, i: i[0])
