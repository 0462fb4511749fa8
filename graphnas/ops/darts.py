"""The operations of DARTS's image cells (Liu, Simonyan & Yang, ICLR 2019, appendix A.1.1).

``affine`` switches the learned scale and shift of the normalisations: off in the search network, on in the network that
is trained in the end. Convolutions are ReLU, convolution, batch normalisation, in this order. All keep the channels; ``stride`` is 1 or 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import GraphnasError
from graphnas.ops.layers import Cost, Layer, Shape, layer, rule, sequential
from graphnas.ops.registry import layer_op

Params = Mapping[str, Any]
Shapes = Sequence[Shape]


def _conv(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> Layer:
    return layer(
        "torch.nn.Conv2d",
        in_channels=channels_in,
        out_channels=channels_out,
        kernel_size=kernel,
        stride=stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=groups,
        bias=False,
    )


def _norm(channels: int, params: Params) -> Layer:
    return layer("torch.nn.BatchNorm2d", num_features=channels, affine=None if params.get("affine", True) else False)


def _separable(params: Params, inputs: Shapes, kernel: int, dilation: int, stride: int) -> list[Layer]:
    """ReLU, depthwise and pointwise convolution, normalisation."""
    c = inputs[0][0]
    return [
        layer("torch.nn.ReLU"),
        _conv(c, c, kernel, stride, dilation, groups=c),
        _conv(c, c, 1),
        _norm(c, params),
    ]


def separable(params: Params, inputs: Shapes, kernel: int) -> Layer:
    """A depthwise separable convolution, twice; the stride is in the first."""
    first = _separable(params, inputs, kernel, 1, params.get("stride", 1))
    return sequential(*first, *_separable(params, inputs, kernel, 1, 1))


def dilated(params: Params, inputs: Shapes, kernel: int) -> Layer:
    """A depthwise separable convolution with dilation 2, once."""
    return sequential(*_separable(params, inputs, kernel, 2, params.get("stride", 1)))


@layer_op("sep_conv_3x3")
def sep_conv_3x3(params: Params, inputs: Shapes) -> Layer:
    """Separable 3x3 convolution, twice."""
    return separable(params, inputs, 3)


@layer_op("sep_conv_5x5")
def sep_conv_5x5(params: Params, inputs: Shapes) -> Layer:
    """Separable 5x5 convolution, twice."""
    return separable(params, inputs, 5)


@layer_op("sep_conv_7x7")
def sep_conv_7x7(params: Params, inputs: Shapes) -> Layer:
    """Separable 7x7 convolution, twice."""
    return separable(params, inputs, 7)


@layer_op("dil_conv_3x3")
def dil_conv_3x3(params: Params, inputs: Shapes) -> Layer:
    """Dilated separable 3x3 convolution (field of view 5x5)."""
    return dilated(params, inputs, 3)


@layer_op("dil_conv_5x5")
def dil_conv_5x5(params: Params, inputs: Shapes) -> Layer:
    """Dilated separable 5x5 convolution (field of view 9x9)."""
    return dilated(params, inputs, 5)


@layer_op("conv_7x1_1x7")
def conv_7x1_1x7(params: Params, inputs: Shapes) -> Layer:
    """A 1x7 and a 7x1 convolution."""
    c, stride = inputs[0][0], params.get("stride", 1)
    flat = {"in_channels": c, "out_channels": c, "bias": False}
    return sequential(
        layer("torch.nn.ReLU"),
        layer("torch.nn.Conv2d", **flat, kernel_size=(1, 7), stride=(1, stride), padding=(0, 3)),
        layer("torch.nn.Conv2d", **flat, kernel_size=(7, 1), stride=(stride, 1), padding=(3, 0)),
        _norm(c, params),
    )


def _pooled(pool: Layer, params: Params, inputs: Shapes) -> Layer:
    """Pooling; in the search network a normalisation follows, so that no operation is larger than another by scale."""
    return pool if params.get("affine", True) else sequential(pool, _norm(inputs[0][0], params))


@layer_op("darts_max_pool_3x3")
def max_pool_3x3(params: Params, inputs: Shapes) -> Layer:
    """3x3 max pooling."""
    pool = layer("torch.nn.MaxPool2d", kernel_size=3, stride=params.get("stride", 1), padding=1)
    return _pooled(pool, params, inputs)


@layer_op("darts_avg_pool_3x3")
def avg_pool_3x3(params: Params, inputs: Shapes) -> Layer:
    """3x3 average pooling that does not count the padding."""
    stride = params.get("stride", 1)
    pool = layer("torch.nn.AvgPool2d", kernel_size=3, stride=stride, padding=1, count_include_pad=False)
    return _pooled(pool, params, inputs)


@layer_op("factorized_reduce")
def factorized_reduce(params: Params, inputs: Shapes) -> Layer:
    """ReLU, two 1x1 convolutions of stride 2, one of them shifted by a pixel, joined; normalisation."""
    out = params.get("channels", inputs[0][0])
    if out % 2:
        raise GraphnasError(f"a factorised reduction needs an even number of channels, not {out}")
    return layer(
        "graphnas.ops.modules.FactorizedReduce",
        in_channels=inputs[0][0],
        out_channels=out,
        affine=bool(params.get("affine", True)),
    )


@layer_op("noise")
def noise(params: Params, inputs: Shapes) -> Layer:
    """Standard normal noise in place of the input (Zela et al., ICLR 2020, space S4)."""
    return layer("graphnas.ops.modules.Noise", stride=params.get("stride", 1))


@layer_op("drop_path")
def drop_path(params: Params, inputs: Shapes) -> Layer:
    """Whole examples zeroed with probability ``p`` in training."""
    return layer("graphnas.ops.modules.DropPath", p=params["p"])


@layer_op("auxiliary_head")
def auxiliary_head(params: Params, inputs: Shapes) -> Layer:
    """DARTS's classifier on the side: pooling to about a third, two convolutions, linear map to ``features``."""
    c, height, width = inputs[0]
    if min(height, width) >= 8:
        pool = layer("torch.nn.AvgPool2d", kernel_size=5, stride=3, padding=0, count_include_pad=False)
    else:
        pool = layer("torch.nn.AdaptiveAvgPool2d", output_size=2)
    convolutions = sequential(
        layer("torch.nn.ReLU"),
        pool,
        _conv(c, 128, 1),
        _norm(128, {}),
        layer("torch.nn.ReLU"),
        layer("torch.nn.Conv2d", in_channels=128, out_channels=768, kernel_size=2, bias=False),
        _norm(768, {}),
        layer("torch.nn.ReLU"),
        layer("torch.nn.Flatten"),
    )
    linear = layer("torch.nn.Linear", in_features=convolutions.shape(*inputs)[0], out_features=params["features"])
    return sequential(*convolutions.children, linear)


def _strided(arguments: Params, inputs: Shapes) -> Shape:
    c, height, width = inputs[0]
    stride = arguments.get("stride", 1)
    return (c, -(-height // stride), -(-width // stride))


def _reduced(arguments: Params, inputs: Shapes) -> Shape:
    return (arguments["out_channels"], *(-(-size // 2) for size in inputs[0][1:]))


def _reduction_cost(arguments: Params, inputs: Shapes) -> Cost:
    weights = arguments["in_channels"] * arguments["out_channels"]
    pixels = math.prod(-(-size // 2) for size in inputs[0][1:])
    return Cost(weights + (2 * arguments["out_channels"] if arguments["affine"] else 0), weights * pixels)


rule("graphnas.ops.modules.FactorizedReduce", _reduced, _reduction_cost)
rule("graphnas.ops.modules.DropPath", lambda arguments, inputs: inputs[0])
rule("graphnas.ops.modules.Noise", _strided)
