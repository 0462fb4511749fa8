"""Derivatives that the outer steps share, all with respect to weights or mixing weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from graphnas.oneshot.base import Mix, State, Tensors
from graphnas.oneshot.context import Context
from graphnas.oneshot.optimisers import Slots


def leaves(parameters: Mapping[str, Tensor]) -> Tensors:
    """The same values as leaves that ask for gradients."""
    return {name: p.detach().requires_grad_() for name, p in parameters.items()}


def named(names: Iterable[str], values: Iterable[Tensor]) -> Tensors:
    """Values by name."""
    return dict(zip(names, values, strict=True))


def dot(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Tensor:
    """The scalar product over all tensors."""
    return torch.stack([(first[name] * value).sum() for name, value in second.items()]).sum()


def norm(tensors: Mapping[str, Tensor]) -> Tensor:
    """The Euclidean norm over all tensors jointly."""
    total: Tensor = torch.stack([value.norm() for value in tensors.values()]).norm()
    return total


def weight_gradient(context: Context, state: State, mix: Mix, batch: Any) -> tuple[Tensor, Tensors, Tensors]:
    """The inner loss, its gradient with respect to the weights, and the buffers after it."""
    parameters = leaves(state.parameters)
    loss, buffers = context.inner_loss(State(parameters, state.buffers), mix, batch)
    gradients = named(parameters, context.gradient(loss, list(parameters.values())))
    return loss.detach(), gradients, buffers


def rollout(context: Context, mix: Mix, steps: int) -> State:
    """The weights after so many of the optimiser's own steps with fixed mixing weights, on a private copy."""
    state, slots, rate = context.state, context.slots, context.rate
    for ahead in range(steps):
        _, gradients, buffers = weight_gradient(context, state, mix, context.inner_batch(ahead))
        parameters, slots = context.inner.step(state.parameters, gradients, slots, rate)
        state = State(parameters, buffers)
    return state


def through_step(context: Context, gradients: Tensors, direction: Tensors, slots: Slots, rate: float) -> Tensors:
    """The transposed derivative of the optimiser's step by the gradients, times a direction.

    For plain gradient descent this is ``-rate * direction``; momentum, Nesterov's look-ahead, clipping and Adam's
    scaling have their part in it as well.
    """
    asked = leaves(gradients)
    moved, _ = context.inner.step(context.state.parameters, asked, slots, rate)
    found = torch.autograd.grad(dot(moved, direction), list(asked.values()), allow_unused=True)
    return named(asked, [torch.zeros_like(x) if g is None else g for g, x in zip(found, asked.values(), strict=True)])


def mix_gradient(context: Context, state: State, mix: Mix, batch: Any) -> Tensors:
    """The gradient of the inner loss with respect to the mixing weights alone."""
    asked = mix.cut()
    loss, _ = context.inner_loss(state, asked, batch)
    return named(asked.weights, context.gradient(loss, list(asked.weights.values())))


def mixed_difference(context: Context, state: State, mix: Mix, batch: Any, direction: Tensors, step: float) -> Tensors:
    """The mixed second derivative of the inner loss times a direction of the weights, by central differences.

    Args:
        context: of the search.
        state: where to differentiate.
        mix: mixing weights; the result has their shapes.
        batch: of training data.
        direction: of the weights.
        step: length of the displacement; DARTS's "0.01 / norm" is 0.01 here.
    """
    length = float(norm(direction))
    if length == 0:
        return {name: torch.zeros_like(w) for name, w in mix.weights.items()}
    sides = []
    for sign in (1, -1):
        moved = moved_by(state, direction, sign * step / length)
        sides.append(mix_gradient(context, moved, mix, batch))
    return {name: (plus - sides[1][name]) * (length / (2 * step)) for name, plus in sides[0].items()}


def moved_by(state: State, direction: Mapping[str, Tensor], factor: float) -> State:
    """The weights displaced along a direction; the given ones stay."""
    moved = {name: p.add(direction[name], alpha=factor) for name, p in state.parameters.items()}
    return State(moved, state.buffers)


def surrogate(mix: Mix, sensitivities: Mapping[str, Tensor]) -> Tensor:
    """A number whose gradient with respect to alpha is what sensitivities of the mixing weights pull back to."""
    return dot(mix.weights, {name: s.detach() for name, s in sensitivities.items()})
