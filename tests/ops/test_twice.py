"""Convolutions and batch normalisation that are quick to differentiate twice: equal to PyTorch's to the second derivative."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphnas.ops.twice import TwiceDifferentiable


def derivatives(function: Callable[..., Tensor], inputs: list[Tensor], inside: bool) -> list[Tensor]:
    """The value, the gradients of a cubic of it, and a product with their derivative."""
    generator = torch.Generator().manual_seed(1)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    with TwiceDifferentiable() if inside else nullcontext():
        y = function(*inputs)
    first = torch.autograd.grad((y**3 + y * noise(y)).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum((g * noise(g)).sum() for g in first), inputs)
    return [y, *first, *second]


def check(function: Callable[..., Tensor], *shapes: tuple[int, ...], ours: str) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    found = derivatives(function, inputs, True)
    made_by = {type(node).__name__ for node in nodes(found[0].grad_fn)}
    assert ours in made_by  # torch's own would be equal as well
    for a, b in zip(found, derivatives(function, inputs, False), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def nodes(start: object) -> list[object]:
    found, left = [], [start]
    while left:
        node = left.pop()
        if node is not None:
            found.append(node)
            left += [n for n, _ in node.next_functions]
    return found


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 2, 3, (1, 5)])
def test_convolutions(kernel, stride, dilation, groups):
    sizes = kernel if isinstance(kernel, tuple) else (kernel, kernel)

    def function(x, weight):
        return functional.conv2d(x, weight, None, stride, 1, dilation, groups)

    check(function, (2, 4, 9, 8), (4, 4 // groups, *sizes), ours="_ConvolutionBackward")


def test_a_bias_is_added():
    check(functional.conv2d, (2, 3, 5, 5), (4, 3, 3, 3), (4,), ours="_ConvolutionBackward")


def test_words_as_padding_are_left_to_torch():
    x, weight = torch.randn(1, 2, 6, 6), torch.randn(3, 2, 3, 3, requires_grad=True)
    with TwiceDifferentiable():
        y = functional.conv2d(x, weight, padding="same")
    assert torch.equal(y, functional.conv2d(x, weight, padding="same"))


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_normalisation(shape):
    def function(x, weight, bias):
        return functional.batch_norm(x, None, None, weight, bias, training=True, eps=0.1)

    check(function, shape, (3,), (3,), ours="_NormBackward")
    check(lambda x: functional.batch_norm(x, None, None, training=True), shape, ours="_NormBackward")


def test_the_second_derivative_of_each_gradient_alone():
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(s, dtype=torch.double, requires_grad=True) for s in ((4, 3, 2, 2), (3,), (3,)))

    def found(inside: bool, which: int) -> list[Tensor | None]:
        with TwiceDifferentiable() if inside else nullcontext():
            y = functional.batch_norm(x, None, None, weight, bias, training=True)
        first = torch.autograd.grad((y**3).sum(), (x, weight, bias), create_graph=True)
        return list(torch.autograd.grad((first[which] ** 2).sum(), (x, weight, bias), allow_unused=True))

    for which in range(3):
        for a, b in zip(found(True, which), found(False, which), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_a_network_moves_its_running_statistics_and_learns_as_usual():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    x, states, gradients = torch.randn(5, 3, 8, 8), [], []
    for inside in (False, True):
        network[1].reset_running_stats()
        with TwiceDifferentiable() if inside else nullcontext():
            loss = network(x).square().mean()
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
        states.append({name: b.clone() for name, b in network.named_buffers()})
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_a_layer_that_evaluates_is_left_to_torch():
    norm, x = nn.BatchNorm2d(3).eval(), torch.randn(2, 3, 4, 4, requires_grad=True)
    with TwiceDifferentiable():
        y = norm(x)
    assert type(y.grad_fn).__name__ == "NativeBatchNormBackward0"


def test_one_value_a_channel_is_an_error_as_in_torch():
    with TwiceDifferentiable(), pytest.raises(ValueError, match="more than 1 value per channel"):
        functional.batch_norm(torch.randn(1, 3, requires_grad=True), None, None, training=True)


def test_three_differentiations_are_refused():
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    weight = torch.randn(1, 1, 3, 3, requires_grad=True)
    with TwiceDifferentiable():
        y = functional.conv2d(x, weight)
    (first,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.sum().backward()
