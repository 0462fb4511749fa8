"""Operations of every kind of network: sums, concatenation, activations, linear maps."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import GraphnasError
from graphnas.ops.layers import Layer, Shape, layer
from graphnas.ops.registry import function_op, layer_op


def _equal_shapes(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    if len(set(inputs)) != 1:
        raise GraphnasError(f"a sum needs inputs of one shape, not {inputs}")
    return inputs[0]


def _first(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    return inputs[0]


def _joined(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    axis = _feature_axis(inputs[0])
    rest = {shape[:axis] + shape[axis + 1 :] for shape in inputs}
    if len(rest) != 1:
        raise GraphnasError(f"a concatenation needs inputs that differ in channels only, not {inputs}")
    shape = list(inputs[0])
    shape[axis] = sum(s[axis] for s in inputs)
    return tuple(shape)


def _feature_axis(shape: Shape) -> int:
    """Channels come first in images (C, H, W), last everywhere else."""
    return 0 if len(shape) == 3 else len(shape) - 1


@function_op("sum", _equal_shapes)
def emit_sum(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """Elementwise sum of any number of inputs."""
    total = arguments[0]
    for term in arguments[1:]:
        total = graph.call_function(operator.add, (total, term))
    return total


@function_op("concat", _joined)
def emit_concat(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """Concatenation along the channels (images) or features."""
    import torch

    if len(arguments) == 1:
        return arguments[0]
    return graph.call_function(torch.cat, (list(arguments),), {"dim": params.get("dim", 1)})


def _strided(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    stride = params.get("stride", 1)
    return inputs[0] if stride == 1 else (*inputs[0][:-2], *(-(-size // stride) for size in inputs[0][-2:]))


@function_op("zero", _strided)
def emit_zero(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """Zeros of the input's shape, of every ``stride``-th pixel of an image."""
    import torch

    x = arguments[0]
    if params.get("stride", 1) != 1:
        pixels = slice(None, None, params["stride"])
        x = graph.call_function(operator.getitem, (x, (Ellipsis, pixels, pixels)))
    return graph.call_function(torch.zeros_like, (x,))


@function_op("identity", _first)
def emit_identity(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """The input itself."""
    return arguments[0]


@function_op("channel_slice", lambda params, inputs: (params["channels"], *inputs[0][1:]))
def emit_channel_slice(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """The first ``channels`` channels of an image feature map."""
    import torch

    return graph.call_function(torch.narrow, (arguments[0], 1, 0, params["channels"]))


@layer_op("relu")
def relu(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """max(x, 0)."""
    return layer("torch.nn.ReLU")


@layer_op("elu")
def elu(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """x where it is positive, exp(x) - 1 elsewhere (Clevert et al., ICLR 2016)."""
    return layer("torch.nn.ELU")


@layer_op("dropout")
def dropout(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """Zero each entry with probability ``p`` in training, and rescale."""
    return layer("torch.nn.Dropout", p=params["p"]).built_by("graphnas.ops.dropout.Dropout")


@layer_op("linear")
def linear(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """x W + b with ``features`` outputs."""
    return layer("torch.nn.Linear", in_features=inputs[0][-1], out_features=params["features"])
