"""Operations that are still open: what a supernet has in the place of a decision."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import GraphnasError
from graphnas.ops.layers import PARALLEL, Layer, Shape, layer
from graphnas.ops.registry import function_op, get, layer_op


@layer_op("mixed")
def mixed(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """All ``options`` ((operation, parameters), ...) of a decision, weighted by a row.

    With ``part`` above 1, one channel in so many of an image passes through them, and the others bypass them. An option
    with the parameter ``reads`` reads only so many of the inputs.
    """
    part = params.get("part", 1)
    if part > 1:
        if len(inputs) != 1 or len(inputs[0]) != 3 or inputs[0][0] % part:
            raise GraphnasError(
                f"one channel in {part} can pass an open operation only where its one input is an image whose channels "
                f"{part} divides, not {list(inputs)}"
            )
        inputs = [(inputs[0][0] // part, *inputs[0][1:])]
    made = tuple(_option(name, dict(given), inputs) for name, given in params["options"])
    reads = tuple(dict(given).get("reads", len(inputs)) for _, given in params["options"])
    shapes = {option.shape(*inputs) for option in made}
    if len(shapes) != 1:
        raise GraphnasError(f"the options of an open operation give different shapes: {sorted(shapes)}")
    arguments = {"part": part if part > 1 else None, "reads": reads if min(reads) < len(inputs) else None}
    return Layer(PARALLEL, tuple((name, value) for name, value in arguments.items() if value is not None), made)


@layer_op("select")
def select(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """One of the inputs, still open: ``place`` tells which input each option stands for (-1: none)."""
    if len(set(inputs)) != 1:
        raise GraphnasError(f"an open input needs candidates of one shape, not {inputs}")
    return layer("graphnas.ops.mixture.Select", place=params["place"])


@layer_op("share")
def share(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """The sum of the weights of some ``options`` of a decision, a number."""
    return layer("graphnas.ops.mixture.Share", options=params["options"])


@function_op("scale", lambda params, inputs: inputs[0])
def emit_scale(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """The first input times the second, a number (or one for each example)."""
    from graphnas.ops.mixture import scaled

    return graph.call_function(scaled, tuple(arguments))


@function_op("loose_mean", lambda params, inputs: inputs[0])
def emit_loose_mean(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """The mean of values weighted by how little others read them; the last one counts fully."""
    from graphnas.ops.mixture import loose_mean

    return graph.call_function(loose_mean, tuple(arguments))


@function_op("complement", lambda params, inputs: inputs[0])
def emit_complement(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """1 less the input."""
    return graph.call_function(operator.sub, (1.0, arguments[0]))


@layer_op("node_norm")
def node_norm(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """Batch normalisation without learned scale and shift, of an image or of features."""
    image = len(inputs[0]) == 3
    size = inputs[0][0] if image else inputs[0][-1]
    return layer("torch.nn.BatchNorm2d" if image else "torch.nn.BatchNorm1d", num_features=size, affine=False)


def _option(name: str, params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    if name == "identity":
        return layer("torch.nn.Identity")
    if name == "zero":
        features = params.get("features")
        return layer(
            "graphnas.ops.mixture.Zero", stride=None if features else params.get("stride", 1), features=features
        )
    op = get(name)
    if op.layer is None:
        raise GraphnasError(f"{name!r} cannot be an option of an open operation: it is no layer")
    return op.layer(params, inputs)
