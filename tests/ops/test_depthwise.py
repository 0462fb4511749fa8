"""Depthwise convolutions: equal to PyTorch's, forward, backward and twice backward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphnas.ops.depthwise import Depthwise, quicken

ORDERS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}


def plain(kernel: int, stride: int, dilation: int, channels: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, channels, bias=False)
    return nn.Sequential(layer).double()


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize("side", [5, 8])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_values_and_gradients_are_those_of_the_plain_layer(kernel, stride, dilation, side, order):
    network = plain(kernel, stride, dilation)
    x = torch.randn(4, 3, side, side, dtype=torch.double).contiguous(memory_format=ORDERS[order]).requires_grad_()
    weight = network[0].weight

    def found() -> list[torch.Tensor]:
        y = network(x)
        first = torch.autograd.grad((y**3).sum(), (x, weight), create_graph=True)
        # The Hessian times a vector, as unrolled steps need it.
        second = torch.autograd.grad(sum((g**2).sum() for g in first), (x, weight))
        return [y, *first, *second]

    expected = found()
    quicken(network)
    assert type(network[0]) is Depthwise
    for a, b in zip(found(), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 2), (5, 1), (5, 2)])
def test_the_gradient_of_the_input_alone_is_that_of_the_plain_layer(kernel, dilation):
    network = plain(kernel, 1, dilation).requires_grad_(False)
    x = torch.randn(2, 3, 8, 8, dtype=torch.double, requires_grad=True)
    (expected,) = torch.autograd.grad((network(x) ** 3).sum(), x)
    quicken(network)
    (found,) = torch.autograd.grad((network(x) ** 3).sum(), x)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_names_weights_and_other_layers_stay():
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, groups=4, bias=False),
        nn.Conv2d(4, 4, (1, 3), padding=(0, 1), groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False, padding_mode="circular"),
    ).eval()
    before = dict(network.named_parameters())
    quicken(network)
    assert [type(layer) is Depthwise for layer in network] == [True, *[False] * 5]
    assert not network[0].training
    assert dict(network.named_parameters()) == before
