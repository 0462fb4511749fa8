"""Operations on image feature maps (C, H, W): those of NAS-Bench-101 and -201 and of the networks around their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.ops.layers import Layer, Shape, layer, sequential
from graphnas.ops.registry import layer_op

Params = Mapping[str, Any]
Shapes = Sequence[Shape]


def convolution(inputs: Shapes, out: int, kernel: int, stride: int = 1) -> Layer:
    """A square convolution without bias that keeps the size at stride 1 (odd kernels)."""
    return layer(
        "torch.nn.Conv2d",
        in_channels=inputs[0][0],
        out_channels=out,
        kernel_size=kernel,
        stride=stride,
        padding=kernel // 2,
        bias=False,
    )


def batch_norm(channels: int, affine: bool = True) -> Layer:
    """Batch normalisation, by default with learned scale and shift."""
    return layer("torch.nn.BatchNorm2d", num_features=channels, affine=None if affine else False)


@layer_op("relu_conv_bn")
def relu_conv_bn(params: Params, inputs: Shapes) -> Layer:
    """ReLU, convolution, batch normalisation: the convolution unit of NAS-Bench-201 and DARTS."""
    out = params.get("channels", inputs[0][0])
    return sequential(
        layer("torch.nn.ReLU"),
        convolution(inputs, out, params["kernel"], params.get("stride", 1)),
        batch_norm(out, params.get("affine", True)),
    )


@layer_op("nor_conv_1x1")
def nor_conv_1x1(params: Params, inputs: Shapes) -> Layer:
    """NAS-Bench-201's 1x1 convolution."""
    return relu_conv_bn({**params, "kernel": 1}, inputs)


@layer_op("nor_conv_3x3")
def nor_conv_3x3(params: Params, inputs: Shapes) -> Layer:
    """NAS-Bench-201's 3x3 convolution."""
    return relu_conv_bn({**params, "kernel": 3}, inputs)


@layer_op("avg_pool_3x3")
def avg_pool_3x3(params: Params, inputs: Shapes) -> Layer:
    """3x3 average pooling that does not count the padding."""
    return layer("torch.nn.AvgPool2d", kernel_size=3, stride=1, padding=1, count_include_pad=False)


@layer_op("conv_bn_relu")
def conv_bn_relu(params: Params, inputs: Shapes) -> Layer:
    """Convolution, batch normalisation, ReLU: the unit of NAS-Bench-101."""
    out = params["channels"]
    return sequential(convolution(inputs, out, params["kernel"]), batch_norm(out), layer("torch.nn.ReLU"))


@layer_op("conv1x1-bn-relu")
def conv1x1_bn_relu(params: Params, inputs: Shapes) -> Layer:
    """NAS-Bench-101's 1x1 convolution."""
    return conv_bn_relu({"channels": inputs[0][0], "kernel": 1}, inputs)


@layer_op("conv3x3-bn-relu")
def conv3x3_bn_relu(params: Params, inputs: Shapes) -> Layer:
    """NAS-Bench-101's 3x3 convolution."""
    return conv_bn_relu({"channels": inputs[0][0], "kernel": 3}, inputs)


@layer_op("maxpool3x3")
def maxpool3x3(params: Params, inputs: Shapes) -> Layer:
    """3x3 max pooling at stride 1."""
    return layer("torch.nn.MaxPool2d", kernel_size=3, stride=1, padding=1)


@layer_op("conv_bn")
def conv_bn(params: Params, inputs: Shapes) -> Layer:
    """Convolution and batch normalisation: the stem of NAS-Bench-201."""
    out = params["channels"]
    return sequential(convolution(inputs, out, params["kernel"]), batch_norm(out))


@layer_op("pool_conv")
def pool_conv(params: Params, inputs: Shapes) -> Layer:
    """2x2 average pooling and a 1x1 convolution: the short cut of NAS-Bench-201's residual reduction."""
    return sequential(layer("torch.nn.AvgPool2d", kernel_size=2, stride=2), convolution(inputs, params["channels"], 1))


@layer_op("max_pool_2x2")
def max_pool_2x2(params: Params, inputs: Shapes) -> Layer:
    """2x2 max pooling at stride 2."""
    return layer("torch.nn.MaxPool2d", kernel_size=2, stride=2)


@layer_op("bn_relu")
def bn_relu(params: Params, inputs: Shapes) -> Layer:
    """Batch normalisation and ReLU."""
    return sequential(batch_norm(inputs[0][0]), layer("torch.nn.ReLU"))


@layer_op("global_average")
def global_average(params: Params, inputs: Shapes) -> Layer:
    """The mean over all pixels, as a vector."""
    return sequential(layer("torch.nn.AdaptiveAvgPool2d", output_size=1), layer("torch.nn.Flatten"))
