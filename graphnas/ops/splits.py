"""A hidden state in equal parts along its features, and the additive couplings that keep it invertible."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import GraphnasError
from graphnas.ops.layers import Shape
from graphnas.ops.registry import function_op


def _part(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    if params["start"] + params["size"] > inputs[0][-1]:
        raise GraphnasError(f"features {params['start']} to {params['start'] + params['size']} of {inputs[0][-1]}")
    return (*inputs[0][:-1], params["size"])


def _equal(params: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    if len(set(inputs)) != 1:
        raise GraphnasError(f"splits must have one shape, not {list(inputs)}")
    return inputs[0]


@function_op("feature_slice", _part)
def emit_feature_slice(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """The features from ``start`` on, ``size`` of them."""
    import torch

    return graph.call_function(torch.narrow, (arguments[0], -1, params["start"], params["size"]))


@function_op("mean_of", _equal)
def emit_mean(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """The elementwise mean of any number of inputs."""
    total = arguments[0]
    for other in arguments[1:]:
        total = graph.call_function(operator.add, (total, other))
    return graph.call_function(operator.truediv, (total, len(arguments)))


@function_op("coupling", _equal)
def emit_coupling(graph: Any, arguments: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """``x + g``: a sum that declares x to be the part ``split`` of a state, and g to be a function of the other parts.

    The couplings with one ``chain`` are the steps of one reversible chain (see ``graphnas.oneshot.reversible``).
    """
    made = graph.call_function(operator.add, tuple(arguments))
    made.meta["coupling"] = params["chain"], params["split"]
    return made
