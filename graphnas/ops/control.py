"""Operations of encoders for control (Miao et al., arXiv 2106.02229): convolutions with bias and without normalisation, and what is around them.

An operation that cannot have a stride itself averages windows of 3x3 pixels at that stride first. The normalisation is by the
statistics of the batch in evaluation too, and has neither scale nor shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.errors import unknown
from graphnas.ops.layers import Layer, Shape, layer, sequential
from graphnas.ops.registry import layer_op

Params = Mapping[str, Any]
Shapes = Sequence[Shape]
FUNCTIONS = {"relu": "torch.nn.ReLU", "tanh": "torch.nn.Tanh", "identity": "torch.nn.Identity"}


@layer_op("control_conv")
def control_conv(params: Params, inputs: Shapes) -> Layer:
    """Convolution with bias: ``kernel``, ``channels`` (default: as before), ``stride``, ``dilation``, and ReLU if ``relu``."""
    kernel, dilation = params["kernel"], params.get("dilation", 1)
    convolution = layer(
        "torch.nn.Conv2d",
        in_channels=inputs[0][0],
        out_channels=params.get("channels", inputs[0][0]),
        kernel_size=kernel,
        stride=params.get("stride", 1),
        padding=dilation * (kernel // 2),
        dilation=dilation,
    )
    return sequential(convolution, layer(FUNCTIONS["relu"])) if params.get("relu") else convolution


@layer_op("control_activation")
def control_activation(params: Params, inputs: Shapes) -> Layer:
    """A ``function`` of each number (relu, tanh, identity), behind average pooling if there is a ``stride``."""
    name, stride = params["function"], params.get("stride", 1)
    if name not in FUNCTIONS:
        raise unknown("activation", name, FUNCTIONS)
    function = layer(FUNCTIONS[name])
    if stride == 1:
        return function
    pool = layer("torch.nn.AvgPool2d", kernel_size=3, stride=stride, padding=1, count_include_pad=False)
    return sequential(pool, function)


@layer_op("control_norm")
def control_norm(params: Params, inputs: Shapes) -> Layer:
    """Each channel standardised over the batch, in training and in evaluation."""
    return layer("torch.nn.BatchNorm2d", num_features=inputs[0][0], affine=False, track_running_stats=False)


@layer_op("control_pool")
def control_pool(params: Params, inputs: Shapes) -> Layer:
    """3x3 max pooling at stride 2."""
    return layer("torch.nn.MaxPool2d", kernel_size=3, stride=2, padding=1)


@layer_op("flatten")
def flatten(params: Params, inputs: Shapes) -> Layer:
    """All numbers of an image as one vector."""
    return layer("torch.nn.Flatten")
