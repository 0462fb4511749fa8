"""Operations of networks that predict a map: dilated and mixed depth-wise convolutions, messages through nets, up-sampling.

The candidates of Chang et al. (ICCAD 2021) are regular, atrous and mixed depth-wise convolutions. All keep height and width,
and end in batch normalisation and ReLU.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import GraphnasError
from graphnas.ops.image import batch_norm
from graphnas.ops.layers import Cost, Layer, Shape, layer, rule, sequential
from graphnas.ops.registry import function_op, layer_op

Params = Mapping[str, Any]
Shapes = Sequence[Shape]
KERNELS = (3, 5, 7)
WIDEST = 32
"""Features of a message to or from a net, unless it says otherwise."""


@layer_op("map_conv")
def map_conv(params: Params, inputs: Shapes) -> Layer:
    """Convolution of ``channels`` outputs with ``kernel`` and ``dilation``, batch normalisation, ReLU."""
    out = params.get("channels", inputs[0][0])
    kernel, dilation = params["kernel"], params.get("dilation", 1)
    convolution = layer(
        "torch.nn.Conv2d",
        in_channels=inputs[0][0],
        out_channels=out,
        kernel_size=kernel,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        bias=False,
    )
    return sequential(convolution, batch_norm(out), layer("torch.nn.ReLU"))


@layer_op("mixed_depthwise")
def mixed_depthwise(params: Params, inputs: Shapes) -> Layer:
    """MixConv (Tan and Le, BMVC 2019): groups of channels with kernels 3, 5, 7, then a 1x1 convolution that mixes them."""
    channels = inputs[0][0]
    return sequential(
        layer("graphnas.ops.map_modules.MixedDepthwise", channels=channels, kernels=KERNELS),
        map_conv({"kernel": 1, "channels": params.get("channels", channels)}, inputs),
    )


@layer_op("net_message")
def net_message(params: Params, inputs: Shapes) -> Layer:
    """Messages from tiles to nets and back, mixed with the map; see ``net_modules.NetMessage``.

    Reads a map, the features of nets ``[m, F]``, what their boxes cover ``[2, e]`` in tiles ``factor`` times finer than the map's
    pixels, and where their pins are ``[2, p]`` (see ``pin_tiles``). ``channels`` outputs; messages have as many features as the
    map has channels, at most 32.
    """
    if len(inputs) != 4:
        raise GraphnasError(
            "it reads a map, nets, what they cover and where their pins are; build it for a task with nets"
        )
    channels = inputs[0][0]
    arguments = {
        "channels": channels,
        "out": params.get("channels", channels),
        "features": inputs[1][1],
        "width": params.get("width", min(channels, WIDEST)),
        "factor": params.get("factor", 1),
    }
    made = layer("graphnas.ops.net_modules.NetMessage", **arguments)
    return made.built_by("graphnas.ops.net_aggregate.FastNetMessage")


@function_op("pin_tiles", lambda params, inputs: inputs[0])
def emit_pin_tiles(graph: Any, arguments: Sequence[Any], params: Params) -> Any:
    """Net and tile of every pin ``[2, p]``, of pins ``[2, p]`` (cell, net) and the tiles of cells ``[n]``."""
    import torch

    pins, places = arguments
    cell, net = (graph.call_function(operator.getitem, (pins, k)) for k in (0, 1))
    return graph.call_function(torch.stack, ([net, graph.call_function(operator.getitem, (places, cell))],))


@layer_op("map_upsample")
def map_upsample(params: Params, inputs: Shapes) -> Layer:
    """Each pixel ``factor`` x ``factor`` times."""
    return layer("torch.nn.Upsample", scale_factor=params["factor"], mode="nearest")


@layer_op("map_pool")
def map_pool(params: Params, inputs: Shapes) -> Layer:
    """Average pooling of windows of ``factor`` x ``factor`` pixels."""
    return layer("torch.nn.AvgPool2d", kernel_size=params["factor"], stride=params["factor"])


@layer_op("map_score")
def map_score(params: Params, inputs: Shapes) -> Layer:
    """A 1x1 convolution with bias: ``channels`` logits a pixel."""
    return layer("torch.nn.Conv2d", in_channels=inputs[0][0], out_channels=params["channels"], kernel_size=1)


@layer_op("inside_average")
def inside_average(params: Params, inputs: Shapes) -> Layer:
    """The mean over the pixels that the last channel of the second input, a finer map, marks with 1, as a vector."""
    return layer("graphnas.ops.map_modules.InsideAverage")


def split(channels: int, parts: int) -> list[int]:
    """Channels of each group, as equal as possible, the first ones larger.

    Raises:
        GraphnasError: fewer channels than parts.
    """
    if channels < parts:
        raise GraphnasError(
            f"a mixed depth-wise convolution of {parts} kernels needs at least {parts} channels, not {channels}"
        )
    return [channels // parts + (i < channels % parts) for i in range(parts)]


def _mixed_cost(arguments: Mapping[str, Any], inputs: Shapes) -> Cost:
    _, height, width = inputs[0]
    kernels = arguments["kernels"]
    weights = sum(c * k * k for c, k in zip(split(arguments["channels"], len(kernels)), kernels, strict=True))
    return Cost(weights, weights * height * width)


def _message_cost(arguments: Mapping[str, Any], inputs: Shapes) -> Cost:
    (channels, height, width), (nets, features), (_, covers), (_, pins) = inputs
    inner, out, tiles = arguments["width"], arguments["out"], height * width
    sending, own, mixing = (channels + 1) * inner, (2 * inner + features + 1) * inner, (channels + 3 * inner) * out
    normalised = 2 * out
    passing = 2 * (covers + pins) * inner
    return Cost(sending + own + mixing + normalised, (sending + mixing) * tiles + own * nets + passing)


rule("graphnas.ops.net_modules.NetMessage", lambda a, i: (a["out"], *i[0][1:]), _message_cost)
rule("graphnas.ops.map_modules.MixedDepthwise", lambda a, i: i[0], _mixed_cost)
rule("torch.nn.Upsample", lambda a, i: (i[0][0], *(int(size * a["scale_factor"]) for size in i[0][1:])))
rule("graphnas.ops.map_modules.InsideAverage", lambda a, i: (i[0][0],))
