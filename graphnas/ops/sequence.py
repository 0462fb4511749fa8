"""Operations of sequences: embeddings, and what a Transformer's layers consist of.

Shapes are (positions, features), and (positions,) of tokens and masks. An operation with the parameter ``features`` or with none keeps the
shape; those of a Transformer are ``LayerNorm(x + dropout(operation(x)))`` and have the parameters ``dropout`` and ``affine`` (a
learned scale and shift).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import GraphnasError
from graphnas.ops.layers import Cost, Layer, Shape, layer, rule, sequential
from graphnas.ops.registry import function_op, layer_op

PADDING = 0
"""The token that stands where there is none."""
_HERE = "graphnas.ops.sequence_modules"

Params = Mapping[str, Any]
Shapes = Sequence[Shape]


@function_op("token_mask", lambda params, inputs: inputs[0])
def emit_token_mask(graph: Any, arguments: Sequence[Any], params: Params) -> Any:
    """True where there is a token."""
    import torch

    return graph.call_function(torch.ne, (arguments[0], PADDING))


@layer_op("token_table")
def token_table(params: Params, inputs: Shapes) -> Layer:
    """The vectors of all ``tokens``, (tokens, features)."""
    return layer(f"{_HERE}.TokenTable", tokens=params["tokens"], features=params["features"])


@layer_op("token_embedding")
def token_embedding(params: Params, inputs: Shapes) -> Layer:
    """Tokens and their table to ``features``, with positions and dropout."""
    dropout = _dropout(params)
    return layer(f"{_HERE}.Embedding", in_features=inputs[1][1], out_features=params["features"], dropout=dropout)


@layer_op("tied_output")
def tied_output(params: Params, inputs: Shapes) -> Layer:
    """Scores of all tokens by products with the table."""
    if inputs[0][-1] != inputs[1][1]:
        raise GraphnasError(f"vectors of {inputs[1][1]} features cannot score {inputs[0][-1]} features")
    return layer(f"{_HERE}.TiedOutput")


@layer_op("sequence_norm")
def sequence_norm(params: Params, inputs: Shapes) -> Layer:
    """Layer normalisation."""
    return layer("torch.nn.LayerNorm", normalized_shape=inputs[0][-1])


def _residual(operation: Layer, params: Params, inputs: Shapes) -> Layer:
    return layer(
        f"{_HERE}.Residual",
        operation=operation,
        features=inputs[0][-1],
        dropout=_dropout(params),
        affine=bool(params.get("affine", True)),
    )


def _dropout(params: Params) -> Layer:
    return layer("torch.nn.Dropout", p=float(params.get("dropout", 0.0))).built_by("graphnas.ops.dropout.Dropout")


def _heads(params: Params, inputs: Shapes) -> int:
    heads, features = int(params["heads"]), inputs[0][-1]
    if features % heads:
        raise GraphnasError(f"{features} features cannot be shared by {heads} heads; choose a multiple")
    return heads


@layer_op("sequence_conv")
def sequence_conv(params: Params, inputs: Shapes) -> Layer:
    """Convolution over ``kernel`` positions with ReLU."""
    made = layer(
        f"{_HERE}.Convolution",
        features=inputs[0][-1],
        kernel=params["kernel"],
        causal=bool(params.get("causal", False)),
    )
    return _residual(made, params, inputs)


@layer_op("sequence_dynamic_conv")
def sequence_dynamic_conv(params: Params, inputs: Shapes) -> Layer:
    """Dynamic convolution over ``kernel`` positions in ``heads`` heads."""
    made = layer(
        f"{_HERE}.DynamicConvolution",
        features=inputs[0][-1],
        kernel=params["kernel"],
        heads=_heads(params, inputs),
        causal=bool(params.get("causal", False)),
    )
    return _residual(made, params, inputs)


@layer_op("sequence_self_attention")
def sequence_self_attention(params: Params, inputs: Shapes) -> Layer:
    """Attention of a sequence to itself in ``heads`` heads."""
    made = layer(
        f"{_HERE}.Attention",
        features=inputs[0][-1],
        heads=_heads(params, inputs),
        causal=bool(params.get("causal", False)),
    )
    return _residual(made, params, inputs)


@layer_op("sequence_cross_attention")
def sequence_cross_attention(params: Params, inputs: Shapes) -> Layer:
    """Attention to the second input in ``heads`` heads."""
    made = layer(
        f"{_HERE}.Attention",
        features=inputs[0][-1],
        heads=_heads(params, inputs),
        memory_features=inputs[1][-1],
    )
    return _residual(made, params, inputs)


@layer_op("sequence_glu")
def sequence_glu(params: Params, inputs: Shapes) -> Layer:
    """A linear map times the sigmoid of another (Dauphin et al., ICML 2017)."""
    width = inputs[0][-1]
    linear = layer("torch.nn.Linear", in_features=width, out_features=2 * width)
    return _residual(sequential(linear, layer("torch.nn.GLU")), params, inputs)


@layer_op("sequence_ffn")
def sequence_ffn(params: Params, inputs: Shapes) -> Layer:
    """Two linear maps with ReLU between them; ``hidden`` features, by default four times as many."""
    width = inputs[0][-1]
    hidden = params.get("hidden") or 4 * width
    first = layer("torch.nn.Linear", in_features=width, out_features=hidden)
    second = layer("torch.nn.Linear", in_features=hidden, out_features=width)
    return _residual(sequential(first, layer("torch.nn.ReLU"), second), params, inputs)


# -- shapes and costs ---------------------------------------------------------------------------


def _same(arguments: Params, inputs: Shapes) -> Shape:
    return inputs[0]


def _table_shape(arguments: Params, inputs: Shapes) -> Shape:
    return arguments["tokens"], arguments["features"]


def _embedding_cost(arguments: Params, inputs: Shapes) -> Cost:
    narrow, wide = arguments["in_features"], arguments["out_features"]
    weights = 0 if narrow == wide else narrow * wide
    return Cost(weights, weights * inputs[0][0])


def _residual_cost(arguments: Params, inputs: Shapes) -> Cost:
    norm = 2 * arguments["features"] if arguments["affine"] else 0
    operation: Layer = arguments["operation"]
    return operation.cost(*inputs) + Cost(norm)


def _convolution_cost(arguments: Params, inputs: Shapes) -> Cost:
    weights = arguments["features"] ** 2 * arguments["kernel"] + arguments["features"]
    return Cost(weights, weights * inputs[0][0])


def _dynamic_cost(arguments: Params, inputs: Shapes) -> Cost:
    width, kernels = arguments["features"], arguments["heads"] * arguments["kernel"]
    weights = 3 * width * width + 3 * width + width * kernels
    return Cost(weights, (weights + width * arguments["kernel"]) * inputs[0][0])


def _attention_cost(arguments: Params, inputs: Shapes) -> Cost:
    width = arguments["features"]
    memory, length = arguments.get("memory_features"), inputs[0][0]
    read = length if memory is None else inputs[1][0]
    own, keys = 2 * width * width + 2 * width, 2 * width * (memory or width) + 2 * width
    return Cost(own + keys, own * length + keys * read + 2 * width * length * read)


rule(f"{_HERE}.TokenTable", _table_shape, lambda a, i: Cost(a["tokens"] * a["features"]))
rule(f"{_HERE}.Embedding", lambda a, i: (i[0][0], a["out_features"]), _embedding_cost)
rule(f"{_HERE}.TiedOutput", lambda a, i: (i[0][0], i[1][0]), lambda a, i: Cost(0, i[0][0] * i[0][1] * i[1][0]))
rule(f"{_HERE}.Residual", _same, _residual_cost)
rule(f"{_HERE}.Convolution", _same, _convolution_cost)
rule(f"{_HERE}.DynamicConvolution", _same, _dynamic_cost)
rule(f"{_HERE}.Attention", _same, _attention_cost)
rule("torch.nn.LayerNorm", _same, lambda a, i: Cost(2 * a["normalized_shape"]))
rule("torch.nn.GLU", lambda a, i: (*i[0][:-1], i[0][-1] // 2))
