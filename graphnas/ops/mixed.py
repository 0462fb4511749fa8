"""Operations that are still open: what a supernet has in the place of a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import GraphnasError
from graphnas.ops.layers import PARALLEL, Layer, Shape, layer
from graphnas.ops.registry import get, layer_op


@layer_op("mixed")
def mixed(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """All ``options`` ((operation, parameters), ...) of a decision, weighted by a row."""
    made = tuple(_option(name, dict(given), inputs) for name, given in params["options"])
    shapes = {option.shape(*inputs) for option in made}
    if len(shapes) != 1:
        raise GraphnasError(f"the options of an open operation give different shapes: {sorted(shapes)}")
    return Layer(PARALLEL, (), made)


@layer_op("select")
def select(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    """One of the inputs, still open: ``place`` tells which input each option stands for (-1: none)."""
    if len(set(inputs)) != 1:
        raise GraphnasError(f"an open input needs candidates of one shape, not {inputs}")
    return layer("graphnas.ops.mixture.Select", place=params["place"])


def _option(name: str, params: Mapping[str, Any], inputs: Sequence[Shape]) -> Layer:
    if name == "identity":
        return layer("torch.nn.Identity")
    if name == "zero":
        return layer("graphnas.ops.mixture.Zero", stride=params.get("stride", 1))
    op = get(name)
    if op.layer is None:
        raise GraphnasError(f"{name!r} cannot be an option of an open operation: it is no layer")
    return op.layer(params, inputs)
