"""Layers of mobile networks: inverted residuals and their relatives (Sandler et al., CVPR 2018; Tan et al., CVPR 2019).

One node is one layer of the network with everything in it (expansion, depth-wise convolution, squeeze-and-excitation, projection,
short cut), as latency tables of such networks have one entry for each layer. Parameters of all of them:

``channels``: of the result. ``kernel``: odd size. ``stride``: 1 or 2. ``activation``: "relu", "relu6", "swish" or
"hard_swish". ``squeeze``: hidden width of squeeze-and-excitation as a share of the layer's **input** channels, 0 for none.
``skip``: "identity" (an identity short cut wherever the shape is kept), "pool" (a short cut by 3x3 average pooling at the layer's
stride, and a 1x1 convolution with normalisation where channels change), or "none".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import GraphnasError, unknown
from graphnas.ops.image import batch_norm, convolution
from graphnas.ops.layers import Cost, Layer, Shape, layer, rule, sequential
from graphnas.ops.registry import layer_op

Params = Mapping[str, Any]
Shapes = Sequence[Shape]

ACTIVATIONS = {"relu": "ReLU", "relu6": "ReLU6", "swish": "SiLU", "hard_swish": "Hardswish"}
SKIPS = ("pool", "identity", "none")


@layer_op("mobile_conv")
def mobile_conv(params: Params, inputs: Shapes) -> Layer:
    """A regular convolution with batch normalisation and activation."""
    out, kernel, stride = params["channels"], params["kernel"], params.get("stride", 1)
    parts = [convolution(inputs, out, kernel, stride), batch_norm(out), _activation(params)]
    return _joined([*parts, *_squeeze(out, params, inputs)], params, inputs)


@layer_op("separable")
def separable(params: Params, inputs: Shapes) -> Layer:
    """A depth-wise separable convolution: an inverted residual without expansion."""
    return inverted_residual({**params, "expansion": 1}, inputs)


@layer_op("inverted_residual")
def inverted_residual(params: Params, inputs: Shapes) -> Layer:
    """1x1 convolution to ``expansion`` times the channels (none at 1), depth-wise convolution, linear 1x1 convolution."""
    channels, out = inputs[0][0], params["channels"]
    middle = channels * params["expansion"]
    parts: list[Layer] = []
    if middle != channels:
        parts += [convolution(inputs, middle, 1), batch_norm(middle), _activation(params)]
    parts += [
        layer(
            "torch.nn.Conv2d",
            in_channels=middle,
            out_channels=middle,
            kernel_size=params["kernel"],
            stride=params.get("stride", 1),
            padding=params["kernel"] // 2,
            groups=middle,
            bias=False,
        ),
        batch_norm(middle),
        _activation(params),
        *_squeeze(middle, params, inputs),
        convolution([(middle, *inputs[0][1:])], out, 1),
        batch_norm(out),
    ]
    return _joined(parts, params, inputs)


def mobile_name(params: Params) -> str:
    """``"mb6_k5"``: a short name of an inverted residual."""
    return f"mb{params['expansion']}_k{params['kernel']}"


def _activation(params: Params) -> Layer:
    name = params.get("activation", "relu")
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return layer(f"torch.nn.{ACTIVATIONS[name]}")


def _squeeze(channels: int, params: Params, inputs: Shapes) -> list[Layer]:
    share = params.get("squeeze", 0)
    if not share:
        return []
    reduced = max(1, int(inputs[0][0] * share))
    activation = _activation(params)
    gate = layer("graphnas.ops.mobile_modules.SqueezeExcite", channels=channels, reduced=reduced, activation=activation)
    return [gate]


def _joined(parts: Sequence[Layer], params: Params, inputs: Shapes) -> Layer:
    """The parts one after the other, with the short cut that ``skip`` asks for."""
    skip, stride, out = params.get("skip", "none"), params.get("stride", 1), params["channels"]
    if skip not in SKIPS:
        raise unknown("skip", skip, SKIPS)
    body = sequential(*parts)
    same = stride == 1 and out == inputs[0][0]
    if skip == "none" or (skip == "identity" and not same):
        return body
    if skip == "identity":
        short_cut = layer("torch.nn.Identity")
    else:
        pool = layer("torch.nn.AvgPool2d", kernel_size=3, stride=stride, padding=1, count_include_pad=False)
        fit = [] if out == inputs[0][0] else [convolution(inputs, out, 1), batch_norm(out)]
        short_cut = sequential(pool, *fit)
    return layer("graphnas.ops.mobile_modules.Residual", body=body, short_cut=short_cut)


def _residual_shape(arguments: Params, inputs: Shapes) -> Shape:
    shape: Shape = arguments["body"].shape(*inputs)
    if arguments["short_cut"].shape(*inputs) != shape:
        raise GraphnasError(f"both paths of a residual must give one shape, not {shape} and another")
    return shape


def _residual_cost(arguments: Params, inputs: Shapes) -> Cost:
    cost: Cost = arguments["body"].cost(*inputs) + arguments["short_cut"].cost(*inputs)
    return cost


def _squeeze_cost(arguments: Params, inputs: Shapes) -> Cost:
    channels, reduced = arguments["channels"], arguments["reduced"]
    weights = 2 * channels * reduced + channels + reduced
    return Cost(weights, weights)


for _name in ("ReLU6", "SiLU", "Hardswish"):
    rule(f"torch.nn.{_name}", lambda arguments, inputs: inputs[0])
rule("graphnas.ops.mobile_modules.SqueezeExcite", lambda arguments, inputs: inputs[0], _squeeze_cost)
rule("graphnas.ops.mobile_modules.Residual", _residual_shape, _residual_cost)
